#!lua
-- Admits or refuses calls before they spend: checks (a known amount is charged) and reserves (an estimate is held).
-- A batch is decided in order, each call on its own: all or nothing over every budget of the call.
--
-- KEYS  events due tiers lineage, then for each frame: see include/frames.lua, then for each call: record, and its
--       counters, then for each call: holds
-- ARGV  prefix ("sg:<workspace>:{<partition>}:") max_events number of calls
--       number of frames, the frames (include/frames.lua), number of plans, the plans (include/plans.lua), number of
--       labels, the labels (include/labels.lua),
--       each call in one text, joined by 0x1E:
--       label (index; its op is check or reserve) plan (index) request user amount (nano-USD) sent not_after (Unix ms)
--       input output (tokens of a check; empty: none) attempt (who asks, in case the answer is lost; may be empty)
--       and the last one, empty for most, joined by 0x1F: meta refusal (empty, or the reason to refuse it whatever the
--       counters say) refusal_budget (index, 0: the fullest) unpriced (0|1: a usage without a price that proceeds)
-- Returns for each call one of
--   answer (text)                              now outcome decider reason retry_after, then lines_text
--   { "replay", answer, context, state, amount }   the first answer of this request id, and what it was about
--   { "mismatch", sent }                       the id was used with another body
--   { "stale", now } { "late", now }           nothing written: plan again; too late
--   { "overflow" }                             a counter would pass the cap
-- and last { lineage, number of the run } (include/lineage.lua); if the run changed nothing, that of the last one, and
-- nothing in it without a replay
-- Without flags the server refuses this program as a whole when `maxmemory` is reached.
-- @include arguments numbers clock sets counters rules lines

local events_key, due_key, tiers_key, lineage_key, prefix, max_events

-- @include events breakdown records terms holds frames plans labels lineage admissions writes

local function next_call()
  local index, plan_index, request, user, amount, sent, not_after, input, output, attempt, more =
    take_apart(next_argument(), '\30', 11)
  local label, plan = labels[index + 0], plans[plan_index + 0] -- arithmetic takes digits faster than tonumber does
  -- Sixteen fields: with more a table is twice as large. What few calls have is not among them: `meta`, `unpriced`,
  -- `refusal` and `refusal_budget`.
  local call = {
    label = label,
    plan = plan,
    request = request,
    user = user,
    amount = amount + 0,
    amount_text = amount,
    sent = sent,
    not_after_ms = not_after + 0,
    input = input,
    output = output,
    attempt = attempt,
    may_be_due = false,
    record_key = next_key(),
    stored = text_at(key_cursor),
    holds_key = next_holds_key(),
    counters_at = key_cursor,
  }
  skip_counter_keys(plan.frame)
  if plan.stopped then
    call.refusal = 'stopped'
  end
  if more ~= '' then
    local meta, refusal, refusal_budget, unpriced = take_apart(more, '\31', 4)
    call.meta, call.unpriced, call.refusal_budget = meta, unpriced == '1', tonumber(refusal_budget)
    if refusal ~= '' then
      call.refusal = refusal
    end
  end
  return call
end

-- Reads which of the users may have holds past their deadline: the index of the partition names the earliest of each.
local function read_due(calls)
  local users = {}
  for index = 1, #calls do
    users[index] = calls[index].user
  end
  for first = 1, #users, MAX_READ_AT_ONCE do
    local last = math.min(first + MAX_READ_AT_ONCE - 1, #users)
    for offset, deadline in ipairs(redis.call('ZMSCORE', due_key, unpack(users, first, last))) do
      calls[first + offset - 1].may_be_due = deadline and tonumber(deadline) <= now_ms
    end
  end
end

-- Has this request id been answered before? Returns that answer, or nil.
local function first_answer(call, record)
  if not is_admitted(record) then
    return nil
  end
  if record.fields.sent ~= call.sent then
    return { 'mismatch', record.fields.sent }
  end
  local state = is_due(record) and 'expired' or record.fields.state
  if note_attempt(record, call.attempt) and record.fields.op == 'reserve' then
    record.holds_key, record.due_key = call.holds_key, due_key
  end
  local amount = record.fields.op == 'reserve' and record.fields.amount or record.fields.charged
  return { 'replay', record.fields.answer, terms_of(record).context, state, amount }
end

-- Is the plan right for the store's time, and would every counter stay within the cap?
local function fault_of(call, list)
  local plan = call.plan
  if now_ms > call.not_after_ms then
    return { 'late', now_ms }
  end
  if now_ms < plan.valid_from_ms or now_ms >= plan.valid_until_ms then
    return { 'stale', now_ms }
  end
  local room = CAP_NANOS - call.amount
  for index = 1, #list do
    local counter = list[index]
    if counter.spend + counter.held > room and not call.refusal then
      return { 'overflow' }
    end
  end
  return nil
end

-- Judges each budget. A line's `held_only` tells that without the holds the amount would fit. Returns whether any limit
-- would be passed.
local function judge(lines, amount)
  local any_over = false
  for index = 1, #lines do
    local line = lines[index]
    local rule, counter = line.rule, line.counter
    local limit, spend, held = rule.limit, counter.spend, counter.held
    if limit and (spend + held >= limit or amount > limit - spend - held) then
      line.outcome = rule.action
      line.over = true
      line.held_only = spend < limit and amount <= limit - spend
      any_over = true
    end
  end
  return any_over
end

local function answer_text(call, outcome, chosen, reason, lines)
  local retry_after = reason == 'held_capacity' and digits(until_next_deadline(call.holds_key)) or '-1'
  return now_text .. ' ' .. outcome .. ' ' .. few_digits(chosen) .. ' ' .. reason .. ' ' .. retry_after .. lines_text(lines)
end

-- Refuses a call: nothing is charged, held, marked or kept but the event.
local function refuse(call, lines, chosen, reason)
  log_event('blocked', call, call.amount, reason, lines, chosen)
  return answer_text(call, 'block', chosen, reason, lines)
end

local function refuse_unjudged(call, lines)
  local chosen = lines[call.refusal_budget] and call.refusal_budget or fullest(lines)
  if lines[chosen] then
    count_outcome(lines[chosen], 'blocked', call.amount)
  end
  return refuse(call, lines, chosen, call.refusal)
end

-- Warns of limits that were passed, and counts users of dry runs.
local function warn_of_limits(lines)
  for _, line in ipairs(lines) do
    if line.over then
      local first = see_limit(line.counter, line.rule)
      if line.outcome == 'warn' then
        line.warning, line.first = 'limit', first and 1 or 0
      elseif first then
        count(tally_of(line), 'dry_run_users', 1)
      end
    end
  end
end

local function reason_of(call, outcome, line)
  if outcome == 'allow' then
    return call.unpriced and 'unpriced' or call.plan.calm_reason
  end
  if outcome == 'warn' and line.warning == 'threshold' then
    return 'threshold'
  end
  return line.held_only and 'held_capacity' or 'limit'
end

-- Admits a call: charges or holds on all its counters and totals, warns, logs, keeps the answer.
local function proceed(call, record, list, lines, any_over)
  local is_check = call.label.is_check
  charge_call(call.plan.frame, list, is_check and call.amount or 0, is_check and 0 or call.amount)
  count_call(call, is_check)
  if any_over then
    warn_of_limits(lines)
  end
  if is_check then
    warn_of_thresholds(lines)
  end
  local outcome, chosen = strongest(lines)
  local reason = reason_of(call, outcome, lines[chosen])
  if outcome ~= 'allow' then
    log_event(outcome == 'warn' and 'warned' or 'dry_run', call, call.amount, reason, lines, chosen)
    count_lines(lines, call.amount)
  end
  if call.unpriced then
    log_event('unpriced', call, call.amount, 'unpriced', lines, chosen)
  end
  local answer = answer_text(call, outcome, chosen, reason, lines)
  if is_check then
    keep_check(call, record, answer)
  else
    keep_hold(call, record, answer)
  end
  return answer
end

local function admit(call)
  local record = load_record(call.record_key, call.stored)
  local known = first_answer(call, record) -- 1. replay check
  if known then
    return known
  end
  local plan = call.plan
  local list = load_counters(plan.frame, call.counters_at)
  local fault = fault_of(call, list) -- 2. validate and read
  if fault then
    return fault
  end
  if call.may_be_due and resolve_due(call.holds_key) then -- 3. resolve due holds
    list = load_counters(plan.frame, call.counters_at)
  end
  local lines = plan_lines(plan, list)
  if call.refusal then
    return refuse_unjudged(call, lines)
  end
  local any_over = judge(lines, call.amount) -- 4. decide
  if any_over then
    local outcome, chosen = strongest(lines)
    if outcome == 'block' then
      count_lines(lines, call.amount)
      return refuse(call, lines, chosen, lines[chosen].held_only and 'held_capacity' or 'limit')
    end
  end
  return proceed(call, record, list, lines, any_over)
end

local function run(run_keys, run_arguments)
  begin(run_keys, run_arguments)
  events_key, due_key, tiers_key, lineage_key = next_key(), next_key(), next_key(), next_key()
  prefix, max_events = next_argument(), next_argument()
  local count = tonumber(next_argument())
  read_ahead(count)
  read_frames()
  read_plans()
  read_labels()
  local calls, answers, has_replay = {}, {}, false
  for index = 1, count do
    calls[index] = next_call()
  end
  read_due(calls)
  for index = 1, count do
    local answer = admit(calls[index])
    answers[index] = answer
    has_replay = has_replay or (type(answer) == 'table' and answer[1] == 'replay')
  end
  count_labels()
  local place = write_all(events_key, tiers_key, lineage_key, max_events) -- 5. write
  if has_replay and not place[1] then
    lineages.touch(lineage_key)
    place = lineages.standing(lineage_key)
  end
  answers[#answers + 1] = place
  return answers
end
