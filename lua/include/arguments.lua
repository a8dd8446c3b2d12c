-- KEYS and ARGV are read in order, once, by two cursors.
local key_cursor, argument_cursor = 0, 0

local function next_key()
  key_cursor = key_cursor + 1
  return KEYS[key_cursor]
end

local function next_argument()
  argument_cursor = argument_cursor + 1
  return ARGV[argument_cursor]
end

-- Splits text at a separator (one character); empty text gives an empty list.
local function split(text, separator)
  local parts = {}
  for part in string.gmatch(text, '[^' .. separator .. ']+') do
    parts[#parts + 1] = part
  end
  return parts
end
