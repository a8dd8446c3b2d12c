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
  return now_text .. ' ' .. outcome .. ' ' .. few_digits(chosen) .. ' ' .. reason .. ' ' .. state_before .. ' '
    .. fields.charged .. ' ' .. fields.amount .. ' ' .. few_digits(unpriced) .. lines_text(lines)
end

local function reply(status, record, answer)
  return { status, answer, terms_of(record).context, record.fields.deadline }
end

-- Keeps the answer that ended the hold and returns it; `used` under `model` is what was counted for the hold before.
local function conclude(operation, record, state, answer, used, model)
  record.holds_key, record.due_key = operation.holds_key, due_key
  local fields = changing(record)
  fields.state, fields.settle_answer = state, answer
  count_change(record, used, model)
  return reply('ok', record, answer)
end
