#!lua flags=allow-oom
-- Does again what a journal tells, with the ids, windows and times of then. Nothing is decided anew: what was admitted
-- is charged or held, whatever the limits say, unless its request id is known; so a journal may be replayed any number
-- of times, by any number of sidecars. A batch is done in order, each operation on its own.
--
-- KEYS  events due tiers lineage unattributed, then for each frame: see include/frames.lua, then for each operation:
--       record, and the counters of its plan if it has one, then for each operation: holds
-- ARGV  prefix max_events number of operations, number of frames, the frames (include/frames.lua), number of plans, the
--       plans (include/plans.lua), number of labels, the labels (include/labels.lua), then each operation in one text,
--       joined by 0x1E:
--       label (index; its op is check, reserve, deny, void, settle, release, extend or record) plan (index; 0: none)
--       request user
--       amount (nano-USD; empty: a usage without a price) sent reserved_at (Unix ms; empty: not given)
--       input output (tokens; empty: none) unpriced (0|1) at (Unix ms: when it was done) attempt not_after (Unix ms; a void's)
--       answer (of a check or reserve: the first one's text; without the store: only its reason) meta
-- Returns for each operation one of
--   { "applied" } { "known" }      done now; nothing to do
--   { "missing" }                  its hold is not known, and it has no plan to charge by
--   { "early" }                    what a void would undo may still land
--   { "conflict" }                 the id stands for something else
--   { "too_old" }                  records of that time are not kept any more: nobody knows whether it was done
-- and last { lineage, number of the run } (include/lineage.lua); without operations that of the last one
-- Runs even when `maxmemory` is reached: money that is gone must be counted.
-- @include arguments numbers clock sets counters rules lines

local events_key, due_key, tiers_key, lineage_key, unattributed_key, prefix, max_events

-- @include events breakdown records terms holds frames plans labels lineage admissions writes

local function next_operation()
  local index, plan, request, user, amount, sent, reserved_at, input, output, unpriced, at, attempt, not_after, answer, meta =
    take_apart(next_argument(), '\30', 15)
  local label = labels[tonumber(index)]
  local operation = {
    op = label.op,
    label = label,
    plan = plans[tonumber(plan)],
    request = request,
    user = user,
    amount = tonumber(amount),
    amount_text = amount,
    sent = sent,
    reserved_at_ms = tonumber(reserved_at),
    input = input,
    output = output,
    unpriced = unpriced == '1',
    at_ms = tonumber(at),
    attempt = attempt,
    not_after_ms = tonumber(not_after),
    answer = answer,
    meta = meta,
    record_key = next_key(),
    stored = text_at(key_cursor),
    holds_key = next_holds_key(),
  }
  if operation.plan then
    operation.counters_at = skip_counter_keys(operation.plan.frame)
  end
  return operation
end

-- @include resolve_answers settle hold_states direct_charges restored_admissions voids

-- Ends or extends a hold as it was done then.
function restored.ending(operation)
  if not is_admitted(load_record(operation.record_key, operation.stored)) then
    if operation.op ~= 'settle' or not operation.plan then
      return { 'missing' }
    end
  end
  local ends = { settle = settles.settle, release = holding.release, extend = holding.extend }
  local status = ends[operation.op](operation)[1]
  local words = { ok = 'applied', replay = 'known', missing = 'missing' }
  return { words[status] or 'conflict' }
end

-- Charges a call again that was made without asking.
function restored.record(operation)
  if not operation.plan and not is_admitted(load_record(operation.record_key, operation.stored)) then
    return { 'missing' }
  end
  local status = direct.charge(operation)[1]
  local words = { ok = 'applied', replay = 'known' }
  return { words[status] or 'conflict' }
end

local operations = {
  check = restored.admission,
  reserve = restored.admission,
  deny = restored.deny,
  void = voids.void,
  settle = restored.ending,
  release = restored.ending,
  extend = restored.ending,
  record = restored.record,
}

-- The clock of the scripts stands at the time of the operation while it is done again.
local function set_clock(time_ms)
  now_ms, now_text = time_ms, digits(time_ms)
end

local function restore(operation, real_ms)
  if real_ms - operation.at_ms > RECORD_TTL_MS then
    return { 'too_old' }
  end
  if operation.op == 'void' and real_ms <= operation.not_after_ms then
    return { 'early' }
  end
  set_clock(operation.at_ms)
  return operations[operation.op](operation)
end

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
  local answers, batch, real_ms = {}, {}, now_ms
  for index = 1, count do
    batch[index] = next_operation()
  end
  accounts.read_ahead(batch)
  for index = 1, count do
    answers[index] = restore(batch[index], real_ms)
  end
  set_clock(real_ms)
  count_labels()
  local place = write_all(events_key, tiers_key, lineage_key, max_events)
  settles.write_unattributed()
  if not place[1] then
    place = lineages.standing(lineage_key)
  end
  answers[#answers + 1] = place
  return answers
end
