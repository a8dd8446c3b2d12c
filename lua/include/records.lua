-- The record of a request id: a hash of text fields, kept 48 h after the check or the hold's end.
--   user request      whose record this is (holds and settles only)
--   op                check, reserve, settle (of an unknown id), unattributed (a settle that found nothing)
--   sent              what another request with this id must have sent to be a replay
--   state             charged (check), open, settled, released, expired
--   amount charged    nano-USD: the check's cost or the hold's estimate; what is in the counters' spend now
--   at deadline       Unix ms: admission; the hold's deadline
--   answer context    the first answer's numbers; the rules they are about (the ledger's own text)
--   windows           codes of the counters, joined by ","
--   tiers             tier totals: code 0x1F tier, joined by 0x1E
--   budgets           index of the counter 0x1F rule's text, joined by 0x1E
--   tier model        for events
--   on_expiry         charge or release; on_unpriced: nano-USD to charge, empty for the estimate
--   settle_sent settle_answer provisional   the settlement; provisional is 1 while it had no price
local RECORD_TTL_MS = 48 * 3600 * 1000
local OPEN_HOLD_TTL_MS = 40 * 24 * 3600 * 1000 -- far past the longest deadline: expiry is decided, never left to a TTL

local records = {} -- by key
local changed_records = {}

local function load_record(key)
  local record = records[key]
  if record then
    return record
  end
  local stored = redis.call('HGETALL', key)
  record = { key = key, exists = #stored > 0, fields = {}, changes = {} }
  for index = 1, #stored, 2 do
    record.fields[stored[index]] = stored[index + 1]
  end
  records[key] = record
  return record
end

-- Says whether the record stands for money that was admitted; a marker of an unattributed settle does not.
local function is_admitted(record)
  return record.exists and record.fields.op ~= 'unattributed'
end

-- Changes fields of a record: a flat list of names and texts.
local function change_record(record, names_and_values)
  if not record.changed then
    record.changed = true
    changed_records[#changed_records + 1] = record
  end
  record.exists = true
  for index = 1, #names_and_values, 2 do
    record.fields[names_and_values[index]] = names_and_values[index + 1]
    record.changes[#record.changes + 1] = names_and_values[index]
    record.changes[#record.changes + 1] = names_and_values[index + 1]
  end
end

-- Puts an open hold into the index of its user and the partition's index of users, or takes it out of the former.
local function index_hold(record, holds_key)
  if record.fields.state ~= 'open' then
    redis.call('ZREM', holds_key, record.key)
    return
  end
  redis.call('ZADD', holds_key, record.fields.deadline, record.key)
  redis.call('PEXPIRE', holds_key, digits(OPEN_HOLD_TTL_MS))
  redis.call('ZADD', record.due_key, 'LT', record.fields.deadline, record.fields.user)
  redis.call('PEXPIRE', record.due_key, digits(OPEN_HOLD_TTL_MS))
end

local function write_records()
  for _, record in ipairs(changed_records) do
    redis.call('HSET', record.key, unpack(record.changes))
    local is_open = record.fields.state == 'open'
    redis.call('PEXPIRE', record.key, digits(is_open and OPEN_HOLD_TTL_MS or RECORD_TTL_MS))
    if record.holds_key then
      index_hold(record, record.holds_key)
    end
  end
end
