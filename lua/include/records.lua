-- The record of a request id: one string of fields joined by 0x1D in the order of RECORD_FIELDS, kept 48 h after the
-- check or the hold's end, and 70 days for an adjustment.
--   op                check, reserve, adjust, settle (of an unknown id), record (a direct charge),
--                     unattributed (a settle that found nothing)
--   sent              what another request with this id must have sent to be a replay
--   state             charged (check, adjust, record), open, settled, released, expired
--   charged           nano-USD: what is in the counters' spend now
--   at deadline       Unix ms: admission; the hold's deadline
--   answer            the first answer's numbers
--   plan              what is counted and judged, see include/terms.lua
--   attempts          who was told the answer, joined by ",": a void takes one away, and the last one undoes it all
--   group model       what the call was for
--   price_version     of the price book that made the amount of tokens; empty for an amount as sent
--   input output      tokens that were charged; empty for none
--   unpriced          1: the amount stands for a usage without a price, which a settle may still correct
--   user request      whose record this is (not of checks; a direct charge may have no user)
--   amount            nano-USD: the hold's estimate (not of checks)
--   settle_sent settle_answer   the settlement
-- A string costs one command to write and a third of a hash's memory; ledger/record_text.py reads it too.
local RECORD_FIELDS = {
  'op', 'sent', 'state', 'charged', 'at', 'answer', 'plan', 'attempts', 'group', 'model', 'price_version',
  'input', 'output', 'unpriced', 'user', 'request', 'amount', 'deadline', 'settle_sent', 'settle_answer',
}
local MAX_ATTEMPTS = 8 -- kept of a record, the newest
local RECORD_TTL_MS = 48 * 3600 * 1000
local OPEN_HOLD_TTL_MS = 40 * 24 * 3600 * 1000 -- far past the longest deadline: expiry is decided, never left to a TTL

local no_fields = {} -- of every record that is not there; never changed
local records -- by key
local changed_records
local changed_count
local due_is_kept -- whether the expiry of the partition's index was put off in this run

at_begin(function()
  records, changed_records, changed_count, due_is_kept = {}, {}, 0, false
end)

-- Returns the fields of a record's text.
local function fields_of(text)
  local op, sent, state, charged, at, answer, plan, attempts, group, model, price_version,
    input, output, unpriced, user, request, amount, deadline, settle_sent, settle_answer = take_apart(text, '\29', 20)
  return {
    op = op,
    sent = sent,
    state = state,
    charged = charged,
    at = at,
    answer = answer,
    plan = plan,
    attempts = attempts,
    group = group,
    model = model,
    price_version = price_version,
    input = input,
    output = output,
    unpriced = unpriced,
    user = user,
    request = request,
    amount = amount,
    deadline = deadline,
    settle_sent = settle_sent,
    settle_answer = settle_answer,
  }
end

-- Returns the record under `key`; `stored`: what was read ahead, false for nothing.
local function load_record(key, stored)
  local record = records[key]
  if not record then
    if stored == nil then
      stored = redis.call('GET', key)
    end
    record = {
      key = key,
      exists = stored and true or false,
      fields = stored and fields_of(stored) or no_fields,
      text = false, -- this and what follows keeps its place in the table
      terms = false,
      counters = false,
      changed = false,
    }
    records[key] = record
  elseif not record.fields then
    record.fields = fields_of(record.text)
  end
  return record
end

-- Returns the record as it is stored.
local function record_text(record)
  local f = record.fields
  return f.op .. '\29' .. f.sent .. '\29' .. f.state .. '\29' .. f.charged .. '\29' .. f.at .. '\29' .. f.answer
    .. '\29' .. f.plan .. '\29' .. f.attempts .. '\29' .. f.group .. '\29' .. f.model .. '\29' .. f.price_version
    .. '\29' .. f.input .. '\29' .. f.output .. '\29' .. f.unpriced .. '\29' .. f.user .. '\29' .. f.request
    .. '\29' .. f.amount .. '\29' .. f.deadline .. '\29' .. f.settle_sent .. '\29' .. f.settle_answer
end

-- Says whether the record stands for money that was admitted; a marker of an unattributed settle does not.
local function is_admitted(record)
  return record.exists and record.fields.op ~= 'unattributed'
end

-- Says that a record is written at the end.
local function note_changed(record)
  if not record.changed then
    record.changed = true
    changed_count = changed_count + 1
    changed_records[changed_count] = record
  end
end

-- Says that a record is written at the end, and returns its fields to be changed.
local function changing(record)
  note_changed(record)
  record.text = false -- from here on the fields say what is written
  if not record.exists then
    record.exists, record.fields = true, {}
    record.terms, record.counters = false, false -- those of a voided call before it in the batch
    for _, name in ipairs(RECORD_FIELDS) do
      record.fields[name] = ''
    end
  end
  return record.fields
end

-- Changes fields of a record: a flat list of names and texts.
local function change_record(record, names_and_values)
  local fields = changing(record)
  for index = 1, #names_and_values, 2 do
    fields[names_and_values[index]] = names_and_values[index + 1]
  end
end

-- Gives a new record its whole text at once; its fields are read from there if this script needs them again.
local function write_record_text(record, text)
  note_changed(record)
  record.exists, record.text, record.fields, record.terms, record.counters = true, text, false, false, false
end

-- Returns who was told a record's answer; nobody was told of a charge that this run has made without an attempt.
local function attempts_of(record)
  return split(record.fields.attempts or '', ',')
end

-- Notes that one more attempt is told the record's answer, so that the void of another one does not undo it.
-- Returns whether that is new.
local function note_attempt(record, attempt)
  local known = attempts_of(record)
  if attempt == '' or known[1] == attempt then
    return false
  end
  for index = 2, #known do
    if known[index] == attempt then
      return false
    end
  end
  known[#known + 1] = attempt
  changing(record).attempts = table.concat(known, ',', math.max(1, #known - MAX_ATTEMPTS + 1))
  return true
end

-- Says whether a changed record is an open hold; one that was given its text at once is a check.
local function is_open_hold(record)
  return record.fields and record.fields.state == 'open'
end

-- Puts an open hold into the index of its user and the partition's index of users, or takes it out of the former.
local function index_hold(record, holds_key)
  if not is_open_hold(record) then
    redis.call('ZREM', holds_key, record.key)
    return
  end
  redis.call('ZADD', holds_key, record.fields.deadline, record.key)
  redis.call('PEXPIRE', holds_key, OPEN_HOLD_TTL_MS)
  redis.pcall('ZADD', record.due_key, 'LT', record.fields.deadline, record.fields.user)
  if not due_is_kept then
    due_is_kept = true
    redis.call('PEXPIRE', record.due_key, OPEN_HOLD_TTL_MS)
  end
end

-- Writes the texts of records with one expiry.
function sets.write_texts(list, ttl_ms)
  if not (sets.are_many(#list / 2) and sets.write(list, 'PX', ttl_ms)) then
    for index = 1, #list, 2 do
      local key, text = list[index], list[index + 1]
      redis.call('SET', key, text, 'PX', ttl_ms)
    end
  end
end

-- Writes the records from `first` to `last` of those that have changed.
function sets.write_some_records(first, last)
  local done, open, done_size, open_size = {}, {}, 0, 0
  for index = first, last do
    local record = changed_records[index]
    if record.fields and record.fields.state == 'voided' then
      redis.call('DEL', record.key)
    elseif record.holds_key and is_open_hold(record) then
      open[open_size + 1], open[open_size + 2] = record.key, record_text(record)
      open_size = open_size + 2
    else
      done[done_size + 1], done[done_size + 2] = record.key, record.text or record_text(record)
      done_size = done_size + 2
    end
  end
  sets.write_texts(done, RECORD_TTL_MS)
  sets.write_texts(open, OPEN_HOLD_TTL_MS)
end

local function write_records()
  for first = 1, changed_count, MAX_SET_AT_ONCE / 2 do
    sets.write_some_records(first, math.min(first + MAX_SET_AT_ONCE / 2 - 1, changed_count))
  end
  for index = 1, changed_count do
    local record = changed_records[index]
    if record.holds_key then
      index_hold(record, record.holds_key)
    end
  end
end
