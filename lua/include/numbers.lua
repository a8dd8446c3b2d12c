-- Integers. Amounts are nano-USD. Doubles are exact up to 2^53 - 1; text comes from string.format('%d') only, because
-- tostring and `..` turn 1e14 into "1e+14". It takes a quarter of the time of '%.0f', but wants a server of 64 bits.
-- redis.call writes a whole number it is given in full, up to 2^53.
local MAX_EXACT = 9007199254740991
local CAP_NANOS = 8000000000000000

at_begin(function()
  if string.format('%d', MAX_EXACT) ~= '9007199254740991' then
    error('amounts need a server of 64 bits')
  end
end)

-- Returns the decimal digits of an integer.
local function digits(number)
  return string.format('%d', number)
end

local LOW_DIGITS = 15 -- of a sum that may be larger than a double is exact
local LOW_UNIT = 1000000000000000

local few = { [0] = '0', '1', '2', '3', '4', '5', '6', '7', '8', '9' }

-- Returns the digits of an integer that is mostly below ten.
local function few_digits(number)
  return few[number] or digits(number)
end

-- Returns the digits of the sum of an integer of any size, as digits, and a change below 2^53.
local function exact_sum(text, change)
  local high = tonumber(string.sub(text, 1, -LOW_DIGITS - 1)) or 0
  local change_high = math.floor(change / LOW_UNIT)
  local low = tonumber(string.sub(text, -LOW_DIGITS)) + (change - change_high * LOW_UNIT)
  local carry = math.floor(low / LOW_UNIT)
  high, low = high + change_high + carry, low - carry * LOW_UNIT
  return high > 0 and string.format('%d%015d', high, low) or digits(low)
end

-- Returns the number in a reply of HMGET or HGET, where a missing field is false; 0 for a missing one.
local function number_of(stored)
  return tonumber(stored) or 0
end
