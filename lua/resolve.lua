#!lua flags=allow-oom
-- Ends holds after the call: settle (the actual replaces the estimate), release (given back), extend (kept alive),
-- expire (the sweeper's: resolve what is due); and record: a call that was made without asking is charged. A batch is
-- done in order, each operation on its own.
--
-- KEYS  events due tiers lineage unattributed, then for each frame: see include/frames.lua, then for each operation:
--       record, and the counters of its plan if it has one, then for each operation: holds
-- ARGV  prefix max_events number of operations, number of frames, the frames (include/frames.lua), number of plans, the
--       plans (include/plans.lua), number of labels, the labels (include/labels.lua), then each operation in one text,
--       joined by 0x1E:
--       label (index; its op says what is done) plan (index; 0: none) request user
--       amount (nano-USD; empty: a usage without a price) sent
--       reserved_at (Unix ms; empty: not given; of a record: when it was made, if not now)
--       input output (tokens; empty: none)
-- Returns for each operation one of
--   { "ok", answer, context, deadline }            answer: now outcome decider reason state_before charged estimate
--   { "replay", answer, context, deadline }                unpriced, then lines_text
--   { "conflict", code } { "missing" } { "too_old" } { "future" } { "done" }
--   { "mismatch", sent } { "stale", now }           of a record: the id was used with another body; plan again
-- and last { lineage, number of the run } (include/lineage.lua); if the run changed nothing, that of the last one, and
-- nothing in it without a replay
-- Runs even when `maxmemory` is reached: money that is gone must be counted.
-- @include arguments numbers clock sets counters rules lines

local events_key, due_key, tiers_key, lineage_key, unattributed_key, prefix, max_events

-- @include events breakdown records terms holds frames plans labels lineage writes

local function next_operation()
  local index, plan, request, user, amount, sent, reserved_at, input, output = take_apart(next_argument(), '\30', 9)
  local label = labels[tonumber(index)]
  local operation = {
    op = label.op,
    label = label,
    plan = plans[tonumber(plan)],
    request = request,
    user = user,
    amount = tonumber(amount),
    sent = sent,
    reserved_at_ms = tonumber(reserved_at),
    input = input,
    output = output,
    record_key = next_key(),
    stored = text_at(key_cursor) or nil, -- without a hold GET looks once more, for a key of another type
    holds_key = next_holds_key(),
  }
  if operation.plan then
    operation.counters_at = skip_counter_keys(operation.plan.frame)
  end
  return operation
end

-- @include resolve_answers settle hold_states direct_charges

local operations = { settle = settles.settle, release = holding.release, extend = holding.extend, expire = holding.expire, record = direct.charge }

local function run(run_keys, run_arguments)
  begin(run_keys, run_arguments)
  events_key, due_key, tiers_key = next_key(), next_key(), next_key()
  lineage_key, unattributed_key = next_key(), next_key()
  prefix, max_events = next_argument(), next_argument()
  local count = tonumber(next_argument())
  read_ahead(count)
  read_frames()
  read_plans()
  read_labels()
  local answers, has_replay = {}, false
  local batch = {}
  for index = 1, count do
    batch[index] = next_operation()
  end
  accounts.read_ahead(batch)
  for index = 1, count do
    local operation = batch[index]
    answers[index] = operations[operation.op](operation)
    has_replay = has_replay or answers[index][1] == 'replay'
  end
  local place = write_all(events_key, tiers_key, lineage_key, max_events)
  if has_replay and not place[1] then
    place = lineages.standing(lineage_key)
  end
  answers[#answers + 1] = place
  settles.write_unattributed()
  return answers
end
