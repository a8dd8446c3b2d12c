#!lua
-- Corrects what a user has spent, in an operator's name: a credit or refund (below zero), or a charge that was missed.
-- On every counter of the plan's windows, all or none, and on its tier totals if it has a tier. Counts no call and
-- fires no threshold: the next charge does.
--
-- KEYS  events tiers lineage, then for the frame: see include/frames.lua, then: record, the user's counters, and holds
-- ARGV  prefix max_events 1, 1, the frame, 1, the plan (include/plans.lua), 0 (no labels), then the adjustment in one
--       text, joined by 0x1E:
--       plan (index) request user amount (nano-USD) sent at (Unix ms; empty: now)
--       done (Unix ms: when it was done before the store lost it, and then nothing refuses it; empty: now) meta
-- Returns one of
--   { "ok", answer, windows, place } { "replay", answer, windows, place }
--       answer: now, then spend held calls of each window; place: lineage and number of the run (include/lineage.lua)
--   { "mismatch", sent }                    the id was used with another body
--   { "stale", now }                        nothing written: plan again
--   { "future" } { "too_old" }              the moment lies ahead, or behind what counters are kept for
--   { "exceeds", window, tier, spend }      less than the credit was spent there; tier is empty for the user's own
--   { "overflow" }                          a counter would pass the cap
-- Without flags the server refuses this script when `maxmemory` is reached.
-- @include arguments numbers clock sets counters rules lines

local events_key, tiers_key, lineage_key, prefix, max_events

-- @include events breakdown records terms holds frames plans lineage writes

-- As long as the counters it has changed, so that the audit can tell them, and no retry is ever a second credit.
local ADJUSTMENT_TTL_MS = 2 * WINDOW_GRACE_MS

local function next_adjustment()
  local plan, request, user, amount, sent, at, done, meta = take_apart(next_argument(), '\30', 8)
  local adjustment = {
    plan = plans[tonumber(plan)],
    request = request,
    user = user,
    amount = tonumber(amount),
    sent = sent,
    at_ms = tonumber(at),
    done_ms = tonumber(done),
    meta = meta,
    record_key = next_key(),
    stored = text_at(key_cursor),
    holds_key = next_holds_key(),
  }
  adjustment.label = { tier = adjustment.plan.frame.tier, group = '', model = '', price_version = '' }
  adjustment.counters_at = skip_counter_keys(adjustment.plan.frame)
  return adjustment
end

-- Has this request id been answered before? Returns that answer, or nil.
local function first_answer(adjustment, record)
  if not is_admitted(record) then
    return nil
  end
  if record.fields.sent ~= adjustment.sent then
    return { 'mismatch', record.fields.sent }
  end
  local lineage, sequence = lineages.current(lineage_key)
  return { 'replay', record.fields.answer, terms_of(record).windows_text, { lineage, tonumber(sequence) } }
end

-- Returns the tier totals to correct: none without a tier, for nobody knows under which the money was counted.
local function totals_to_correct(frame)
  local list = {}
  for index, total in ipairs(frame.tier ~= '' and frame.totals or {}) do
    list[index] = load_total(total.key, total.window)
  end
  return list
end

-- Is the moment one whose counters are kept, and the plan the right one for it?
local function fault_of_moment(adjustment)
  local at_ms, plan = adjustment.at_ms or now_ms, adjustment.plan
  if at_ms > now_ms then
    return { 'future' }
  end
  if at_ms < now_ms - WINDOW_GRACE_MS then
    return { 'too_old' }
  end
  if at_ms < plan.valid_from_ms or at_ms >= plan.valid_until_ms then
    return { 'stale', now_ms }
  end
  return nil
end

-- Would a counter or total fall below zero, or a counter pass the cap? Names the emptiest of those.
local function fault_of_amount(adjustment, list, totals)
  local amount, emptiest, tier = adjustment.amount, nil, ''
  for _, counter in ipairs(list) do
    if amount < 0 and counter.spend + amount < 0 and (not emptiest or counter.spend < emptiest.spend) then
      emptiest = counter
    end
    if amount > 0 and counter.spend + counter.held + amount > CAP_NANOS then
      return { 'overflow' }
    end
  end
  for index, total in ipairs(totals) do
    if amount < 0 and total.spend + amount < 0 and (not emptiest or total.spend < emptiest.spend) then
      emptiest, tier = total, adjustment.plan.frame.totals[index].tier
    end
  end
  return emptiest and { 'exceeds', emptiest.window.code, tier, digits(emptiest.spend) } or nil
end

local function correct(list, amount)
  for _, counter in ipairs(list) do
    -- Noted first: what is credited may go below zero where charges are still to come back.
    set_extra(counter, 'adjusted', (extras_of(counter).adjusted or 0) + amount)
    add(counter, amount, 0, 0)
  end
end

local function answer_text(list)
  local parts = { now_text }
  for _, counter in ipairs(list) do
    parts[#parts + 1] = string.format('%d %d %d', counter.spend, counter.held, counter.calls)
  end
  return table.concat(parts, ' ')
end

local function keep(adjustment, record, answer)
  local plan, frame, amount = adjustment.plan, adjustment.plan.frame, digits(adjustment.amount)
  change_record(record, {
    'op', 'adjust',
    'sent', adjustment.sent,
    'state', 'charged',
    'charged', amount,
    'at', digits(adjustment.at_ms or now_ms),
    'answer', answer,
    'plan', plan.context .. (frame.tier ~= '' and frame.check_text or frame.unlisted_text),
    'user', adjustment.user,
    'request', adjustment.request,
    'amount', amount,
  })
end

local function set_clock(time_ms)
  now_ms, now_text = time_ms, digits(time_ms)
end

local function adjust(adjustment)
  local record = load_record(adjustment.record_key, adjustment.stored)
  local known = first_answer(adjustment, record) or (not adjustment.done_ms and fault_of_moment(adjustment))
  if known then
    return known
  end
  local frame = adjustment.plan.frame
  local list, totals = load_counters(frame, adjustment.counters_at), totals_to_correct(frame)
  local fault = not adjustment.done_ms and fault_of_amount(adjustment, list, totals)
  if fault then
    return fault
  end
  local real_ms = now_ms
  set_clock(adjustment.done_ms or real_ms) -- the log tells when it was done
  correct(list, adjustment.amount)
  correct(totals, adjustment.amount)
  count_correction(day_of(frame.breakdown_key, frame.windows[1].code), frame.tier, adjustment.amount)
  local lines = plan_lines(adjustment.plan, list)
  log_event('adjusted', adjustment, adjustment.amount, 'adjusted', lines, fullest(lines))
  local answer = answer_text(list)
  keep(adjustment, record, answer)
  set_clock(real_ms)
  local place = write_all(events_key, tiers_key, lineage_key, max_events)
  redis.call('PEXPIRE', record.key, digits(ADJUSTMENT_TTL_MS))
  return { 'ok', answer, frame.windows_text, place }
end

local function run(run_keys, run_arguments)
  begin(run_keys, run_arguments)
  events_key, tiers_key, lineage_key = next_key(), next_key(), next_key()
  prefix, max_events = next_argument(), next_argument()
  read_ahead(tonumber(next_argument()))
  read_frames()
  read_plans()
  next_argument() -- labels: none
  return adjust(next_adjustment())
end
