#!lua flags=allow-oom
-- Gives what a user has another name: counters and records, each with its TTL. Money stays where it is.
--
-- KEYS  pairs of an old and a new key
-- ARGV  the new user, then for each pair: the new request id of a record, empty for a counter
-- Returns how many of the old keys were there
-- A pair whose old key is gone was renamed before: a repeat goes on where the last run ended.
-- @include arguments sets records

-- Puts the new names into a record that has names inside.
local function rename_inside(key, user, request)
  local record = { fields = fields_of(redis.call('GET', key)) }
  if record.fields.request ~= '' then
    record.fields.user, record.fields.request = user, request
    redis.call('SET', key, record_text(record), 'KEEPTTL')
  end
end

local function run(run_keys, run_arguments)
  begin(run_keys, run_arguments)
  local user, found = next_argument(), 0
  for _ = 1, #run_keys / 2 do
    local old_key, key, request = next_key(), next_key(), next_argument()
    if redis.call('EXISTS', old_key) == 1 then
      redis.call('RENAME', old_key, key)
      if request ~= '' then
        rename_inside(key, user, request)
      end
      found = found + 1
    end
  end
  return found
end
