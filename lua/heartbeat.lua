#!lua
-- Notes what a sidecar reports of itself, at the store's time, and forgets sidecars that were silent for long.
--
-- KEYS  sidecars states
-- ARGV  id state (JSON; empty: the sidecar has stopped, forget it) forgotten_after_ms
-- Returns the store's time, Unix ms
-- Without flags the server refuses this script when `maxmemory` is reached.
-- @include arguments numbers clock

-- At most so many are forgotten a run; the next one goes on.
local MAX_FORGOTTEN = 100

local function forget(sidecars_key, states_key, ids)
  if #ids > 0 then
    redis.call('ZREM', sidecars_key, unpack(ids))
    redis.call('HDEL', states_key, unpack(ids))
  end
end

local function run(run_keys, run_arguments)
  begin(run_keys, run_arguments)
  local sidecars_key, states_key = next_key(), next_key()
  local id, state, forgotten_after_ms = next_argument(), next_argument(), next_argument()
  local oldest = digits(now_ms - tonumber(forgotten_after_ms))
  forget(
    sidecars_key,
    states_key,
    redis.call('ZRANGEBYSCORE', sidecars_key, '-inf', '(' .. oldest, 'LIMIT', 0, digits(MAX_FORGOTTEN))
  )
  if state == '' then
    forget(sidecars_key, states_key, { id })
    return digits(now_ms)
  end
  redis.call('ZADD', sidecars_key, digits(now_ms), id)
  redis.call('HSET', states_key, id, state)
  redis.call('PEXPIRE', sidecars_key, forgotten_after_ms)
  redis.call('PEXPIRE', states_key, forgotten_after_ms)
  return digits(now_ms)
end
