-- Strings that are written whole, many with one command: MSETEX, which Valkey has since 9.1 and Redis since 8.4. Where
-- a server does not know it or an ACL forbids it, it has written nothing, and each string is written by itself.
-- All in one table, because a program may have 200 locals; so what writes counters and records is in it as well.
local MAX_SET_AT_ONCE = 4000 -- keys and texts: what unpack returns has its bound
local FEW_SETS = 8 -- are written faster one by one

local sets = {
  can_be_many = true, -- kept for the next runs of a function
}

-- Says whether that many strings are worth a command for many.
function sets.are_many(count)
  return count > FEW_SETS and sets.can_be_many
end

-- Writes strings that have keys and texts in turn in `list`, at most MAX_SET_AT_ONCE and not none. Returns false, and
-- nothing is written, if there is no command for many. `expiry`: KEEPTTL, or PX with its `ms`.
function sets.write(list, expiry, ms)
  local size = #list
  list[size + 1], list[size + 2] = expiry, ms
  sets.can_be_many = type(redis.pcall('MSETEX', size / 2, unpack(list))) == 'number'
  list[size + 1], list[size + 2] = nil, nil
  return sets.can_be_many
end
