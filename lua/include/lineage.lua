-- Where a partition's data stands: a hash with its `lineage`, the `sequence` of runs that changed it, and the `server`
-- that wrote it. A server that was started anew, or is a primary anew, begins a new lineage, and `end:<lineage>` keeps up
-- to which run the one before has survived, because what a crash or a failover took is always the newest. So whoever
-- knows the lineage and number of a run can tell whether it is still in the data (ledger/places.py).
-- All in one table, because a program may have 200 locals.
local lineages = {
  max = 64,
  ttl_ms = 2 * WINDOW_GRACE_MS,
  touched_every = 1024, -- runs; the expiry is put off as often
  -- By key, the lineage that this server is known to carry on: kept for the next runs of a function. Another server may
  -- have been the primary meanwhile; then the data brings that one's lineage.
  greeted = {},
}

-- Returns this run of the server and its time as a primary, which begins with a replication id of its own; empty where
-- INFO may not be used, and then only lost keys begin a new lineage.
function lineages.server_run()
  local info = redis.pcall('INFO', 'server', 'replication')
  if type(info) ~= 'string' then
    return ''
  end
  return (string.match(info, 'run_id:(%x+)') or '') .. ':' .. (string.match(info, 'master_replid:(%x+)') or '')
end

-- Forgets the ends of lineages that nobody remembers, all at once: then everything of theirs counts as lost.
function lineages.forget_ends(lineage_key)
  local fields = redis.call('HKEYS', lineage_key)
  if #fields > lineages.max then
    for _, field in ipairs(fields) do
      if string.sub(field, 1, 4) == 'end:' then
        redis.call('HDEL', lineage_key, field)
      end
    end
  end
end

function lineages.begin(lineage_key, old, sequence, server)
  if old then
    lineages.forget_ends(lineage_key)
    redis.call('HSET', lineage_key, 'end:' .. old, sequence)
  end
  local lineage = string.sub(server, 1, 8) .. '-' .. now_text
  redis.call('HSET', lineage_key, 'lineage', lineage, 'server', server)
  redis.call('HSETNX', lineage_key, 'sequence', '0')
  redis.call('PEXPIRE', lineage_key, digits(lineages.ttl_ms))
  return lineage
end

-- Returns the lineage, after a new one was begun if the server or the data is another than before.
function lineages.current(lineage_key)
  local stored = redis.call('HMGET', lineage_key, 'lineage', 'sequence', 'server')
  local lineage, sequence = stored[1], stored[2] or '0'
  if lineage and lineages.greeted[lineage_key] == lineage then
    return lineage, sequence
  end
  local server = lineages.server_run()
  if not lineage or stored[3] ~= server then
    lineage = lineages.begin(lineage_key, lineage, sequence, server)
  end
  lineages.greeted[lineage_key] = lineage
  return lineage, sequence
end

-- Returns { lineage, number of the last run }, where the data stands without a run of one's own.
function lineages.standing(lineage_key)
  local lineage, sequence = lineages.current(lineage_key)
  return { lineage, tonumber(sequence) }
end

-- Counts a run that changed something. Returns { lineage, number of the run }.
function lineages.advance(lineage_key)
  local lineage = lineages.current(lineage_key)
  local sequence = redis.call('HINCRBY', lineage_key, 'sequence', 1)
  if sequence % lineages.touched_every == 0 then
    redis.call('PEXPIRE', lineage_key, digits(lineages.ttl_ms))
  end
  return { lineage, sequence }
end

-- Writes without a change, so that WAIT, which looks at the last write of a connection, waits for all that this run has
-- read: an answer that is given again may stand on what no replica has yet.
function lineages.touch(lineage_key)
  redis.call('PEXPIRE', lineage_key, digits(lineages.ttl_ms))
end
