-- The store's clock owns windows and deadlines, in Unix milliseconds. TIME moves inside a script on some servers: it
-- is called once a run. Tests put another file in the place of this one.
local function store_time_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local now_ms, now_text

at_begin(function()
  now_ms = store_time_ms()
  now_text = digits(now_ms)
end)

local WINDOW_GRACE_MS = 35 * 24 * 3600 * 1000 -- how long what belongs to a window outlives it

-- Returns how long from now a key of a window ("day:<start>:<end>", Unix seconds) is kept, in ms, as text.
local function window_ttl_ms(code)
  local end_s = tonumber(string.match(code, ':(%d+)$'))
  return digits(math.max(1, end_s * 1000 + WINDOW_GRACE_MS - now_ms))
end
