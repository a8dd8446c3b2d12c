-- A label: what calls of a batch share beside their user, and the sum of what they have used. Most calls of a batch
-- have the same.
-- ARGV: one text, joined by 0x1D: frame (index; 0: none) op ttl (ms) group model price_version (each may be empty)
local labels -- those of this run, in the order of ARGV

at_begin(function()
  labels = {}
end)

local function next_label()
  local index, op, ttl, group, model, price_version = take_apart(next_argument(), '\29', 6)
  local frame = frames[tonumber(index)]
  return {
    frame = frame,
    tier = frame and frame.tier or '',
    op = op,
    is_check = op == 'check',
    ttl_ms = tonumber(ttl),
    group = group,
    model = model,
    price_version = price_version,
    record_text = '\29' .. group .. '\29' .. model .. '\29' .. price_version .. '\29', -- as a check's record has them
    calls = 0,
    input = 0,
    output = 0,
    millions = 0,
    rest = 0,
  }
end

local function read_labels()
  for index = 1, tonumber(next_argument()) do
    labels[index] = next_label()
  end
end

-- Adds to the breakdown what the calls of all labels have used.
local function count_labels()
  for _, label in ipairs(labels) do
    if label.calls > 0 then
      local frame = label.frame
      count_usage(day_of(frame.breakdown_key, frame.windows[1].code), label.group, label.model, label.tier, label)
    end
  end
end
