-- In a function's library a global is found through two metatables, and not at all while the library is loaded. So a
-- program takes those that it uses once, when it first runs, into locals of the same names.
local function globals()
  return redis, string, table, math, ipairs, pairs, tonumber, type, unpack, error
end
local redis, string, table, math, ipairs, pairs, tonumber, type, unpack, error

-- One run of a program reads its KEYS and ARGV in order, once, by cursors: the keys of its frames and operations, and
-- the keys of holds, one for each operation, which stand at the end. As a function a program outlives its runs, so
-- whatever a run keeps in memory begins anew with it: whoever has such state says how.
local keys, key_cursor, holds_cursor, arguments, argument_cursor
local beginnings = {}

-- Has `set` called at the beginning of each run.
local function at_begin(set)
  beginnings[#beginnings + 1] = set
end

local function begin(run_keys, run_arguments)
  if not redis then
    redis, string, table, math, ipairs, pairs, tonumber, type, unpack, error = globals()
  end
  keys, key_cursor, arguments, argument_cursor = run_keys, 0, run_arguments, 0
  for index = 1, #beginnings do
    beginnings[index]()
  end
end

local function next_key()
  key_cursor = key_cursor + 1
  return keys[key_cursor]
end

local function next_argument()
  argument_cursor = argument_cursor + 1
  return arguments[argument_cursor]
end

local MAX_READ_AT_ONCE = 4000 -- keys: what unpack returns has its bound
local texts, texts_after -- what was read ahead of KEYS, and behind which index

-- Reads in one command what is stored under the KEYS of frames and operations. To MGET a key of another type is like a
-- key that is not there, and so most of these keys may be of any type.
local function read_ahead(operation_count)
  holds_cursor = #keys - operation_count
  texts, texts_after = {}, key_cursor
  for first = key_cursor + 1, holds_cursor, MAX_READ_AT_ONCE do
    local part = redis.call('MGET', unpack(keys, first, math.min(first + MAX_READ_AT_ONCE - 1, holds_cursor)))
    if first == key_cursor + 1 then
      texts = part
    else
      for _, text in ipairs(part) do
        texts[#texts + 1] = text
      end
    end
  end
end

-- Returns what was read ahead of a key by its index in KEYS; false for nothing.
local function text_at(index)
  return texts[index - texts_after]
end

local function next_holds_key()
  holds_cursor = holds_cursor + 1
  return keys[holds_cursor]
end

local patterns = {} -- by separator and count; made when first needed: nothing can be called while a library is loaded

-- Splits text at a separator (one character) into its `count` fields; empty ones count.
local function take_apart(text, separator, count)
  local known = patterns[separator]
  if not known then
    known = {}
    patterns[separator] = known
  end
  local pattern = known[count]
  if not pattern then
    local field = '([^' .. separator .. ']*)'
    pattern = '^' .. string.rep(field .. separator, count - 1) .. field .. '$'
    known[count] = pattern
  end
  return string.match(text, pattern)
end

-- Splits text at a separator (one character); empty text gives an empty list.
local function split(text, separator)
  local parts = {}
  for part in string.gmatch(text, '[^' .. separator .. ']+') do
    parts[#parts + 1] = part
  end
  return parts
end
