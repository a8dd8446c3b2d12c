-- How what was admitted is kept, and counted for the breakdown.

-- Keeps the answer of a check for its replays. The first fields of a record, in their order, as far as there are any.
local function keep_check(call, record, answer)
  local usage = call.label.record_text
  if call.input ~= '' or call.output ~= '' or call.unpriced then
    usage = table.concat({ usage, call.input, call.output, call.unpriced and '1' or nil }, '\29')
  end
  local amount, plan = digits(call.amount), call.plan
  local parts = { 'check', call.sent, 'charged', amount, now_text, answer, plan.record_text, call.attempt, usage }
  write_record_text(record, table.concat(parts, '\29'))
end

-- Keeps a hold: the answer, and what its end needs.
local function keep_hold(call, record, answer)
  local plan = call.plan
  record.holds_key, record.due_key = call.holds_key, due_key
  change_record(record, hold_fields(plan))
  change_record(record, {
    'op', 'reserve',
    'sent', call.sent,
    'state', 'open',
    'charged', '0',
    'at', now_text,
    'answer', answer,
    'context', plan.context,
    'windows', plan.windows_text,
    'tiers', plan.tiers_text,
    'attempts', call.attempt,
    'amount', digits(call.amount),
    'deadline', digits(now_ms + call.ttl_ms),
    'user', call.user,
    'request', call.request,
    'group', call.group,
    'model', call.model,
    'price_version', call.price_version,
    'unpriced', call.unpriced and '1' or '',
  })
end

-- Counts an admitted call for the breakdown; what a hold has used is counted when it ends.
local function count_call(call, is_check)
  local label = call.label
  label.calls = label.calls + 1
  if is_check then
    if call.input ~= '' then
      label.input = label.input + call.input
    end
    if call.output ~= '' then
      label.output = label.output + call.output
    end
    add_cost(label, call.amount)
  end
  if call.unpriced then
    add_unpriced(label, 1, 0, is_check and call.amount or 0)
  end
end
