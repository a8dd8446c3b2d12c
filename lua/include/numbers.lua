-- Integers. Amounts are nano-USD. Doubles are exact up to 2^53 - 1; text comes from string.format only, because
-- tostring and `..` turn 1e14 into "1e+14". redis.call writes a whole number it is given in full, up to 2^53.
local MAX_EXACT = 9007199254740991
local CAP_NANOS = 8000000000000000

-- Returns the decimal digits of an integer; adding zero turns -0 into 0.
local function digits(number)
  return string.format('%.0f', number + 0)
end

-- Returns the number in a reply of HMGET or HGET, where a missing field is false; 0 for a missing one.
local function number_of(stored)
  return tonumber(stored) or 0
end
