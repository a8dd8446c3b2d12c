-- Direct charges: calls that were made without asking, told of afterwards. They are never refused because of a limit.
-- One without a user counts for its tier's totals and in the breakdown only; its record's windows tell the day.
-- All in one table, because a program may have 200 locals.
local direct = {}

-- Has this request id been answered before? Returns that answer, or nil.
function direct.charged_before(operation, record)
  if not is_admitted(record) then
    return nil
  end
  if record.fields.sent ~= operation.sent then
    return { 'mismatch', record.fields.sent }
  end
  return reply('replay', record, record.fields.answer)
end

-- Is it told too late, or planned for another time than that of the store?
function direct.fault_of_charge(operation)
  local at_ms, plan = operation.reserved_at_ms, operation.plan
  if at_ms and now_ms - at_ms > RECORD_TTL_MS then
    return settles.unattributed(operation, 'too_old')
  end
  if not at_ms and (now_ms < plan.valid_from_ms or now_ms >= plan.valid_until_ms) then
    return { 'stale', now_ms }
  end
  return nil
end

function direct.keep_charge(operation, record, amount)
  local plan = operation.plan
  change_record(record, {
    'op', 'record',
    'sent', operation.sent,
    'state', 'charged',
    'charged', digits(amount),
    'at', digits(math.min(operation.reserved_at_ms or now_ms, now_ms)),
    'plan', hold_text(plan),
    'user', operation.user,
    'request', operation.request,
    'group', operation.label.group,
    'amount', digits(amount),
  })
  settles.note_usage(operation, record)
end

function direct.charge(operation)
  local record, plan = load_record(operation.record_key, operation.stored), operation.plan
  local known = direct.charged_before(operation, record) or direct.fault_of_charge(operation)
  if known then
    return known
  end
  local amount = operation.amount or plan.on_unpriced or 0
  local has_user = operation.user ~= ''
  charge_call(plan.frame, has_user and load_counters(plan.frame, operation.counters_at) or {}, amount, 0)
  direct.keep_charge(operation, record, amount)
  count_change(record, new_sum(), record.fields.model)
  if not operation.amount then
    local found = lines_of(record)
    log_event('unpriced', call_of(record), amount, 'unpriced', found, fullest(found))
  end
  local lines = warn_after_charge(record, amount)
  change_record(record, { 'answer', settlement_text(record, lines, 'unknown', operation.amount and 0 or 1) })
  return reply('ok', record, record.fields.answer)
end
