-- What a record keeps of the plan it was made by, joined by 0x1C: context windows tiers budgets tier on_expiry on_unpriced
--   context           the rules that the answers are about (the ledger's own text)
--   windows           codes of the counters, joined by ","
--   tiers             tier totals: windows 0x1F tier, joined by 0x1E; windows joined by ",": the index of one that is
--                     among the former, the code of another
--   budgets           index of the counter 0x1F rule's text, joined by 0x1E (not of checks)
--   tier on_expiry    charge or release; on_unpriced: nano-USD to charge, empty for the estimate
-- The keys of its counters, totals and tallies are not in KEYS: they have the same hash tag, so the same slot.
local MAX_KNOWN_TERMS = 64 -- many are one user's own, see include/frames.lua
local MAX_KNOWN_FRAMES = 512

-- All in one table, because a program may have 200 locals.
local accounts = {
  -- Parsed ones by prefix and text, kept for the next runs of a function.
  known = {},
  known_count = 0,
  frames = {}, -- what the records of all users of a tier share, by prefix, windows and tiers
  frame_count = 0,
  moved = {}, -- frames whose totals this run has not moved yet
}

at_begin(function()
  for _, frame in ipairs(accounts.moved) do -- of a run that has failed
    frame.spend, frame.calls, frame.is_moved = 0, 0, false
  end
  accounts.moved = {}
  if accounts.known_count > MAX_KNOWN_TERMS then
    accounts.known, accounts.known_count = {}, 0
  end
  if accounts.frame_count > MAX_KNOWN_FRAMES then
    accounts.known, accounts.known_count = {}, 0
    accounts.frames, accounts.frame_count = {}, 0
  end
end)

function accounts.parse_frame(windows, tiers)
  local frame = {
    windows = {},
    totals = {},
    spend = 0, -- what this run moves on the totals, and has not written yet
    calls = 0,
    is_moved = false,
  }
  local codes = split(windows, ',')
  for index, code in ipairs(codes) do
    frame.windows[index] = { code = code, stem = prefix .. 'counter:' .. code .. ':' }
  end
  for index, total in ipairs(parse_totals(tiers, codes)) do
    local code = total.code
    frame.totals[index] = { key = prefix .. 'tier:' .. code .. ':' .. total.tier, window = { code = code, rest = ' ' } }
  end
  frame.day = frame.windows[1].code
  frame.breakdown_key = prefix .. 'breakdown:' .. frame.day
  return frame
end

function accounts.frame_of(windows, tiers)
  local text = prefix .. windows .. '\28' .. tiers
  local frame = accounts.frames[text]
  if not frame then
    frame = accounts.parse_frame(windows, tiers)
    accounts.frames[text], accounts.frame_count = frame, accounts.frame_count + 1
  end
  return frame
end

function accounts.parse(text)
  local context, windows, tiers, budgets, tier, on_expiry, on_unpriced = take_apart(text, '\28', 7)
  return {
    context = context,
    windows_text = windows,
    tier = tier,
    on_expiry = on_expiry,
    on_unpriced = tonumber(on_unpriced),
    frame = accounts.frame_of(windows, tiers),
    rules = parse_rules(budgets),
  }
end

-- Returns the terms of a record.
local function terms_of(record)
  local terms = record.terms
  if not terms then
    local known, text = accounts.known[prefix], record.fields.plan
    if not known then
      known = {}
      accounts.known[prefix] = known
    end
    terms = known[text]
    if not terms then
      terms = accounts.parse(text)
      known[text], accounts.known_count = terms, accounts.known_count + 1
    end
    record.terms = terms
  end
  return terms
end

-- Reads the counters and totals of records in one command, before they are used one by one.
function accounts.read_counters(list)
  local names, windows, seen = {}, {}, {}
  local function want(key, window)
    if not seen[key] and not counters[key] then
      seen[key] = true
      names[#names + 1], windows[#windows + 1] = key, window
    end
  end
  for _, record in ipairs(list) do
    local frame, user = terms_of(record).frame, record.fields.user
    for _, window in ipairs(user ~= '' and frame.windows or {}) do
      want(window.stem .. user, window)
    end
    if not seen[frame] then
      seen[frame] = true
      for _, total in ipairs(frame.totals) do
        want(total.key, total.window)
      end
    end
  end
  for first = 1, #names, MAX_READ_AT_ONCE do
    local last = math.min(first + MAX_READ_AT_ONCE - 1, #names)
    for offset, text in ipairs(redis.call('MGET', unpack(names, first, last))) do
      load_counter(names[first + offset - 1], windows[first + offset - 1], text)
    end
  end
end

-- Does so for the records that a batch is about, as far as they are known.
function accounts.read_ahead(batch)
  local list = {}
  for _, operation in ipairs(batch) do
    local record = operation.stored and load_record(operation.record_key, operation.stored)
    if record and is_admitted(record) then
      list[#list + 1] = record
    end
  end
  accounts.read_counters(list)
end

local function counters_of(record)
  local list = record.counters
  if not list then
    list = {}
    local user = record.fields.user
    for index, window in ipairs(user ~= '' and terms_of(record).frame.windows or {}) do
      list[index] = load_counter(window.stem .. user, window)
    end
    record.counters = list
  end
  return list
end

-- Moves what the run owes to the totals of a frame.
function accounts.move_totals(frame)
  for _, total in ipairs(frame.totals) do
    add(load_total(total.key, total.window), frame.spend, 0, frame.calls)
  end
  frame.spend, frame.calls = 0, 0
end

function accounts.move_all_totals()
  for _, frame in ipairs(accounts.moved) do
    if frame.spend ~= 0 or frame.calls ~= 0 then
      accounts.move_totals(frame)
    end
    frame.is_moved = false
  end
  accounts.moved = {}
end

-- Moves money on every counter and total of a record.
local function move(record, spend, held, calls)
  for _, counter in ipairs(counters_of(record)) do
    add(counter, spend, held, calls)
  end
  local frame = terms_of(record).frame
  if math.abs(frame.spend + spend) > MAX_EXACT then
    flush_all_totals() -- a total that is lessened must have what calls of this run have added
    accounts.move_totals(frame)
  end
  frame.spend, frame.calls = frame.spend + spend, frame.calls + calls
  if not frame.is_moved then
    frame.is_moved = true
    accounts.moved[#accounts.moved + 1] = frame
  end
end
