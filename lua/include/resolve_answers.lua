-- What settle, release and extend answer, and how it is kept for their replays.

-- The reason of a settlement that crossed no threshold, from the rules at the reserve.
local function calm_reason(lines)
  if not lines[1] then
    return 'no_rule'
  end
  for _, line in ipairs(lines) do
    if line.rule.limit then
      return 'under_limit'
    end
  end
  return 'unlimited'
end

-- Returns the answer's text. `unpriced` is 1 for a usage without a price.
local function settlement_text(record, lines, state_before, unpriced)
  local outcome, chosen = strongest(lines)
  local reason = outcome == 'warn' and 'threshold' or calm_reason(lines)
  local fields = record.fields
  local head = string.format(
    '%s %s %d %s %s %s %s %d',
    now_text, outcome, chosen, reason, state_before, fields.charged, fields.amount, unpriced
  )
  return head .. lines_text(lines)
end

local function reply(status, record, answer)
  local fields = record.fields
  return { status, answer, fields.context, fields.deadline or '' }
end

-- Keeps the answer that ended the hold and returns it.
local function conclude(operation, record, state, answer)
  record.holds_key, record.due_key = operation.holds_key, due_key
  change_record(record, { 'state', state, 'settle_answer', answer })
  count_record(record, 1)
  return reply('ok', record, answer)
end
