-- Notes the tiers whose totals this script made in the partition's index of tiers, by the latest window end, Unix ms.
-- Only the first charge of a tier in a window gets here. `pcall`: the money is written already.
local function write_tiers(tiers_key)
  for _, key in ipairs(new_totals) do
    local end_s, tier = string.match(key, '^[^:]*:[^:]*:[^:]*:tier:%a+:%d+:(%d+):(.*)$')
    redis.pcall('ZADD', tiers_key, 'GT', digits(tonumber(end_s) * 1000), tier)
  end
  if new_totals[1] then
    redis.pcall('ZREMRANGEBYSCORE', tiers_key, '-inf', digits(now_ms - WINDOW_GRACE_MS))
    redis.pcall('PEXPIRE', tiers_key, digits(2 * WINDOW_GRACE_MS))
  end
end

-- The write phase: everything that was decided, at once, money first. What could fail (a sum past 2^63, a key of
-- another type that was not read before) goes through pcall, so that nothing can end the script between a counter and
-- the record that keeps it from being charged again. Returns where the data stands now; nothing if nothing changed.
local function write_all(stream, tiers_key, lineage_key, max_events)
  flush_all_totals()
  accounts.move_all_totals()
  load_breakdown()
  local place = {}
  if touched[1] or changed_records[1] then
    place = lineages.advance(lineage_key)
  end
  write_counters()
  write_records()
  write_tallies()
  write_breakdown()
  write_events(stream, max_events)
  write_tiers(tiers_key)
  return place
end
