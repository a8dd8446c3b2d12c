#!lua flags=allow-oom
-- Puts figures right that the audit found to disagree with the records (ledger/repairs.py). Only if nothing has changed
-- the partition since before the audit read it, so that no call in flight is ever mistaken for a fault.
--
-- KEYS  events due tiers lineage, then for each correction: its counter or total; for a hold: its record and the holds
--       of its user
-- ARGV  prefix max_events lineage sequence (where the data stood when it was read) meta (JSON for the events), number of
--       corrections, then each in one text, joined by 0x1E:
--       kind (counter | total | hold) name (user; tier of a total) window calendar (of one that must be made, or empty)
--       spend held (nano-USD: what was found) and what to add to spend held calls; a hold has only its kind and name
-- Returns { "done", { lineage, number of the run } }, or { "moved" }: nothing written, audit again
-- Runs even when `maxmemory` is reached: it makes almost nothing, and a wrong counter decides wrongly.
-- @include arguments numbers clock sets counters rules lines

local events_key, due_key, tiers_key, lineage_key, prefix, max_events

-- @include events breakdown records terms holds frames plans lineage writes

local meta

local function log_repair(correction, counter, reason, amount)
  local is_total = correction.kind == 'total'
  local label = { tier = is_total and correction.name or '', group = '', model = '', price_version = '' }
  local call = { user = is_total and '' or correction.name, request = '', label = label, meta = meta }
  local line = { rule = { id = '', limit_text = '' }, counter = counter, outcome = 'allow' }
  log_event('repaired', call, amount, reason, { line }, 1)
end

-- Corrects a counter or total in memory; returns whether it still is what was found.
local function correct(correction)
  local window = { code = correction.window, rest = ' ' .. correction.calendar }
  local load = correction.kind == 'total' and load_total or load_counter
  local counter = load(next_key(), window)
  if counter.spend ~= correction.found_spend or counter.held ~= correction.found_held then
    return false
  end
  add(counter, correction.spend, correction.held, correction.calls)
  if correction.spend ~= 0 then
    log_repair(correction, counter, 'spend', correction.spend)
  end
  if correction.held ~= 0 then
    log_repair(correction, counter, 'held', correction.held)
  end
  return true
end

-- Puts an open hold back into the index of its user, or it would never expire.
local function index_again(correction)
  local record, holds_key = load_record(next_key()), next_key()
  if not record.exists or record.fields.state ~= 'open' then
    return false
  end
  record.holds_key, record.due_key = holds_key, due_key
  changing(record)
  return true
end

local function repair(text)
  local kind, name, window, calendar, found_spend, found_held, spend, held, calls = take_apart(text, '\30', 9)
  local correction = {
    kind = kind,
    name = name,
    window = window,
    calendar = calendar,
    found_spend = tonumber(found_spend),
    found_held = tonumber(found_held),
    spend = tonumber(spend),
    held = tonumber(held),
    calls = tonumber(calls),
  }
  return (kind == 'hold' and index_again or correct)(correction)
end

local function run(run_keys, run_arguments)
  begin(run_keys, run_arguments)
  events_key, due_key, tiers_key, lineage_key = next_key(), next_key(), next_key(), next_key()
  prefix, max_events = next_argument(), next_argument()
  local lineage, sequence = lineages.current(lineage_key)
  if lineage ~= next_argument() or sequence ~= next_argument() then
    return { 'moved' }
  end
  meta = next_argument()
  for _ = 1, tonumber(next_argument()) do
    if not repair(next_argument()) then
      return { 'moved' }
    end
  end
  return { 'done', write_all(events_key, tiers_key, lineage_key, max_events) }
end
