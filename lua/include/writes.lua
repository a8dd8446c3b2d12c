-- The write phase: everything that was decided, at once. Nothing before it has written, and nothing in it can fail.
local function write_all(stream, max_events)
  write_counters()
  write_tallies()
  write_records()
  write_events(stream, max_events)
end
