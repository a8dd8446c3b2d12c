#!lua flags=allow-oom
-- Notes that a sidecar has degraded or recovered; of several control planes that have seen it, one is told yes.
-- A control plane's look may be older than another's news: what was reported before the last news changes nothing.
--
-- KEYS  healths
-- ARGV  id state (degraded or recovered) seen_ms (when the sidecar reported it, Unix ms of the store) kept_ms
-- Returns 1 if this is news, 0 if not: it is known, older than what is known, or a recovery from nothing
-- @include arguments numbers clock

local function run(run_keys, run_arguments)
  begin(run_keys, run_arguments)
  local key = next_key()
  local id, state, seen_ms, kept_ms = next_argument(), next_argument(), next_argument(), next_argument()
  local known = redis.call('HGET', key, id) or 'recovered 0'
  local known_state, known_ms = string.match(known, '^(%l+) (%d+)$')
  if state == known_state or tonumber(seen_ms) <= tonumber(known_ms) then
    return 0
  end
  redis.call('HSET', key, id, state .. ' ' .. seen_ms)
  redis.call('PEXPIRE', key, kept_ms)
  return 1
end
