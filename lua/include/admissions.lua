-- How what was admitted is kept, and counted for the breakdown.

-- Keeps the answer of a check for its replays: the fields of a record, in their order.
local function keep_check(call, record, answer)
  local label = call.label
  write_record_text(record, 'check\29' .. call.sent .. '\29charged\29' .. call.amount_text .. '\29' .. now_text
    .. '\29' .. answer .. call.plan.check_text .. call.attempt .. label.record_text .. call.input .. '\29'
    .. call.output .. (call.unpriced and '\0291\29\29\29\29\29\29' or '\29\29\29\29\29\29\29'))
end

-- Keeps a hold: the answer, and what its end needs.
local function keep_hold(call, record, answer)
  local label = call.label
  note_changed(record)
  record.exists, record.text, record.terms, record.counters = true, false, false, false
  record.holds_key, record.due_key = call.holds_key, due_key
  record.fields = {
    op = 'reserve',
    sent = call.sent,
    state = 'open',
    charged = '0',
    at = now_text,
    answer = answer,
    plan = hold_text(call.plan),
    attempts = call.attempt,
    group = label.group,
    model = label.model,
    price_version = label.price_version,
    input = '',
    output = '',
    unpriced = call.unpriced and '1' or '',
    user = call.user,
    request = call.request,
    amount = call.amount_text,
    deadline = digits(now_ms + label.ttl_ms),
    settle_sent = '',
    settle_answer = '',
  }
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
