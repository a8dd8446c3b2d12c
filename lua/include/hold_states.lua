-- Release gives a hold back, extend keeps it alive, expire resolves what is due.
-- All in one table, because a program may have 200 locals.
local holding = {}

local MAX_HOLD_MS = 24 * 3600 * 1000

-- Returns the hold that release and extend are about, or the answer that there is none.
function holding.find_hold(operation)
  local record = load_record(operation.record_key, operation.stored)
  if not is_admitted(record) then
    return nil, { 'missing' }
  end
  if record.fields.op ~= 'reserve' then
    return nil, { 'conflict', 'not_a_hold' }
  end
  if record.fields.state == 'settled' then
    return nil, { 'conflict', 'already_settled' }
  end
  return record, nil
end

function holding.release(operation)
  local record, fault = holding.find_hold(operation)
  if fault then
    return fault
  end
  local fields = record.fields
  if fields.state == 'released' then
    return reply('replay', record, fields.settle_answer)
  end
  if is_due(record) then
    expire_hold(record, operation.holds_key)
  end
  local state_before, used = fields.state, usage_of(record)
  local held = state_before == 'open' and tonumber(fields.amount) or 0
  move(record, -tonumber(fields.charged), -held, -1)
  changing(record).charged = '0'
  local answer = settlement_text(record, lines_of(record), state_before, 0)
  return conclude(operation, record, 'released', answer, used, fields.model)
end

function holding.extend(operation)
  local record, fault = holding.find_hold(operation)
  if fault then
    return fault
  end
  local fields = record.fields
  if fields.state == 'released' then
    return { 'conflict', 'already_released' }
  end
  if fields.state == 'expired' or is_due(record) then
    return { 'conflict', 'hold_expired' }
  end
  local deadline = math.min(now_ms + operation.label.ttl_ms, tonumber(fields.at) + MAX_HOLD_MS)
  record.holds_key, record.due_key = operation.holds_key, due_key
  changing(record).deadline = digits(deadline)
  return reply('ok', record, settlement_text(record, lines_of(record), 'open', 0))
end

-- Resolves the user's due holds and puts the user's next deadline into the partition's index.
function holding.expire(operation)
  resolve_due(operation.holds_key)
  local wait_ms = until_next_deadline(operation.holds_key)
  if wait_ms < 0 then
    redis.call('ZREM', due_key, operation.user)
  else
    redis.call('ZADD', due_key, digits(now_ms + wait_ms), operation.user)
  end
  return { 'done' }
end
