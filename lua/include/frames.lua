-- A frame: on which counters and totals a call is counted. All users of a tier share one, whatever is judged for them.
-- ARGV: one text, joined by 0x1C:
--       tier windows calendars seeds tiers (see include/terms.lua; calendars and seeds go with the windows; a seed is
--       the index of the workspace's counter to start from, 0 for none)
-- KEYS: the breakdown of the first window's day, then a tier total for each of tiers.

-- Frames stay parsed for the next runs of a function, and so do the plans that users share. What is kept is memory that
-- every run goes through again, and out of the processor's cache a run is twice as slow (docs/decisions/0066): so what
-- is one user's own is never kept.
local MAX_PARSED = 512 -- frames and plans together; beyond it all begin anew with the next run

local known_frames, parsed_count = {}, 0 -- by text, each with its plans by theirs
local frames -- those of this run, in the order of ARGV

at_begin(function()
  frames = {}
  if parsed_count > MAX_PARSED then
    known_frames, parsed_count = {}, 0
  end
end)

-- Returns the windows of a frame, and how many KEYS one user's counters take, those of previous windows included.
local function parse_windows(codes, calendars, seeds)
  local windows, key_count = {}, 0
  calendars, seeds = split(calendars, ','), split(seeds, ',')
  for index, code in ipairs(split(codes, ',')) do
    local window = { code = code, rest = ' ' .. calendars[index], key = key_count + 1 }
    key_count = window.key
    if seeds[index] ~= '0' then
      window.seed, window.previous = tonumber(seeds[index]), window.key + 1
      key_count = window.previous
      windows.are_seeded = true
    end
    windows[index] = window
  end
  return windows, key_count
end

local function parse_frame(text)
  local tier, codes, calendars, seeds, tiers = take_apart(text, '\28', 5)
  local frame = {
    tier = tier,
    windows_text = codes,
    tiers_text = tiers,
    totals = {},
    plans = {},
    -- How a check's record goes on after the plan's context, see include/terms.lua.
    check_text = '\28' .. codes .. '\28' .. tiers .. '\28\28' .. tier .. '\28\28',
    unlisted_text = '\28' .. codes .. '\28\28\28' .. tier .. '\28\28', -- without totals
  }
  frame.windows, frame.key_count = parse_windows(codes, calendars, seeds)
  for index, total in ipairs(parse_totals(tiers, split(codes, ','))) do
    frame.totals[index] = { window = { code = total.code, rest = ' ' }, tier = total.tier }
  end
  return frame
end

-- Returns the next frame. Its `spend` and `calls` are what this run has charged to its totals but not added yet.
local function next_frame()
  local text = next_argument()
  local frame = known_frames[text]
  if not frame then
    frame = parse_frame(text)
    known_frames[text], parsed_count = frame, parsed_count + 1
  end
  frame.spend, frame.calls = 0, 0
  frame.breakdown_key = next_key()
  for _, total in ipairs(frame.totals) do
    total.key = next_key()
    total.key_index = key_cursor
  end
  return frame
end

local function read_frames()
  for index = 1, tonumber(next_argument()) do
    frames[index] = next_frame()
  end
end

-- Passes the KEYS of a frame's counters for one user: the counters in the order of its windows, each seeded one
-- followed by the key of its previous window. Returns where they start.
local function skip_counter_keys(frame)
  local start = key_cursor
  key_cursor = start + frame.key_count
  return start
end

-- Returns the counters of a frame for the user whose keys follow `start`, seeded where a zone is new.
local function load_counters(frame, start)
  local list, windows = {}, frame.windows
  for index = 1, #windows do
    local window = windows[index]
    local place = start + window.key
    local key = keys[place]
    list[index] = counters[key] or load_counter(key, window, texts[place - texts_after])
  end
  if windows.are_seeded then
    for index, window in ipairs(windows) do
      if window.seed then
        seed_counter(list[index], list[window.seed], keys[start + window.previous])
      end
    end
  end
  return list
end

-- Adds what was charged to a frame's totals.
local function flush_totals(frame)
  for _, total in ipairs(frame.totals) do
    local counter = load_total(total.key, total.window, text_at(total.key_index))
    add(counter, frame.spend, 0, frame.calls)
  end
  frame.spend, frame.calls = 0, 0
end

-- Adds to the totals of all frames what their calls have charged, before the totals are written.
flush_all_totals = function()
  for _, frame in ipairs(frames) do
    if frame.calls > 0 then
      flush_totals(frame)
    end
  end
end

-- Charges or holds an amount on every counter of a user and on the frame's tier totals, as one call.
local function charge_call(frame, list, spend, held)
  charge(list, spend, held)
  if frame.spend + spend > MAX_EXACT then
    flush_totals(frame)
  end
  frame.spend, frame.calls = frame.spend + spend, frame.calls + 1
end
