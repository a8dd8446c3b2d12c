-- Checks and reserves that a journal tells of. All in one table, because a program may have 200 locals.
local restored = {}

-- What the record of a known id says to an admission that is told again.
function restored.already_known(call, record)
  local fields = record.fields
  if fields.op ~= 'settle' and fields.sent ~= call.sent then -- a settle that was reconstructed stands for its reserve
    return { 'conflict' }
  end
  if note_attempt(record, call.attempt) and fields.op == 'reserve' then
    record.holds_key, record.due_key = call.holds_key, due_key
  end
  return { 'known' }
end

-- Sets the marks that the call has set, and logs and counts what was logged and counted then.
function restored.repeat_outcome(call, lines)
  local words = split(call.answer, ' ') -- now outcome decider reason retry_after, then lines_text
  for index, line in ipairs(lines) do
    line.outcome, line.warning = words[7 * index - 1], words[7 * index + 2]
    local is_over = line.outcome == 'dry_run' or line.warning == 'limit'
    local is_first = is_over and see_limit(line.counter, line.rule)
    if is_first and line.outcome == 'dry_run' then
      count(tally_of(line), 'dry_run_users', 1)
    end
    if call.op == 'check' then
      cross_thresholds(line.counter, line.rule)
    end
  end
  local outcome, chosen = words[2], tonumber(words[3])
  if outcome ~= 'allow' then
    log_event(outcome == 'warn' and 'warned' or 'dry_run', call, call.amount, words[4], lines, chosen)
    count_lines(lines, call.amount)
  end
  if call.unpriced then
    log_event('unpriced', call, call.amount, 'unpriced', lines, chosen)
  end
end

-- Logs what was allowed without the store, and lets its charge fire thresholds. Returns the answer to keep.
function restored.degraded_outcome(call, lines)
  local reason = call.answer
  if call.op == 'check' and warn_of_thresholds(lines) then
    local _, chosen = strongest(lines)
    log_event('warned', call, call.amount, 'threshold', lines, chosen)
    count_lines(lines, call.amount)
  end
  local outcome, chosen = strongest(lines)
  log_event('degraded', call, call.amount, reason, lines, chosen)
  if call.unpriced then
    log_event('unpriced', call, call.amount, 'unpriced', lines, chosen)
  end
  return string.format('%s %s %d %s -1', now_text, outcome, chosen, reason) .. lines_text(lines)
end

function restored.admission(call)
  local record = load_record(call.record_key, call.stored)
  if is_admitted(record) then
    return restored.already_known(call, record)
  end
  local is_check = call.op == 'check'
  local frame = call.plan.frame
  local list = load_counters(frame, call.counters_at)
  charge_call(frame, list, is_check and call.amount or 0, is_check and 0 or call.amount)
  local lines = plan_lines(call.plan, list)
  count_call(call, is_check)
  local answer = call.answer
  if string.find(answer, ' ', 1, true) then
    restored.repeat_outcome(call, lines)
  else
    answer = restored.degraded_outcome(call, lines)
  end
  if is_check then
    keep_check(call, record, answer)
  else
    keep_hold(call, record, answer)
  end
  return { 'applied' }
end

-- Logs and counts what was refused without the store, in the name of the fullest budget.
function restored.deny(call)
  local lines = plan_lines(call.plan, load_counters(call.plan.frame, call.counters_at))
  local chosen = fullest(lines)
  if lines[chosen] then
    count_outcome(lines[chosen], 'blocked', call.amount)
  end
  log_event('blocked', call, call.amount, call.answer, lines, chosen)
  return { 'applied' }
end
