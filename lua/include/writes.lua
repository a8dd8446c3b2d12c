-- The write phase: everything that was decided, at once, money first. What could fail (a sum past 2^63, a key of
-- another type that was not read before) goes through pcall, so that nothing can end the script between a counter and
-- the record that keeps it from being charged again.
local function write_all(stream, max_events)
  write_counters()
  write_records()
  write_tallies()
  write_events(stream, max_events)
end
