-- A void undoes a check or reserve that has landed although its caller was told no, because the answer came too late.
-- What others were told of the same request id, by a retry, stands: the last attempt that was told no undoes it.
-- All in one table, because a program may have 200 locals.
local voids = {}

-- Returns the attempts of a record without one of them; nil if it is not among them.
function voids.without_attempt(record, attempt)
  local left, is_found = {}, false
  for _, known in ipairs(attempts_of(record)) do
    if known == attempt then
      is_found = true
    else
      left[#left + 1] = known
    end
  end
  return is_found and table.concat(left, ',') or nil
end

function voids.void(operation)
  local record = load_record(operation.record_key, operation.stored)
  local left = is_admitted(record) and voids.without_attempt(record, operation.attempt) or nil
  if not left then
    return { 'known' }
  end
  local fields = record.fields
  record.holds_key, record.due_key = fields.op == 'reserve' and operation.holds_key or nil, due_key
  changing(record).attempts = left
  if left ~= '' or fields.state == 'settled' then -- a known actual stays, whoever was told no before
    return { 'applied' }
  end
  fields.user, fields.request = operation.user, operation.request -- the record of a check has neither
  local held, charged = fields.state == 'open' and tonumber(fields.amount) or 0, tonumber(fields.charged)
  local used = usage_of(record)
  move(record, -charged, -held, fields.state == 'released' and 0 or -1)
  log_event('voided', call_of(record), held > 0 and held or charged, 'store_unavailable', {}, 0)
  fields.state, fields.charged, fields.input, fields.output, fields.unpriced = 'released', '0', '', '', ''
  count_change(record, used, fields.model)
  fields.state = 'voided'
  record.exists = false
  return { 'applied' }
end
