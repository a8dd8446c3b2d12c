-- A label: what calls of a batch share beside their user. Most calls of a batch have the same.
-- ARGV: one text, joined by 0x1D: plan (index; 0: none) group model price_version (each may be empty)
local labels -- those of this run, in the order of ARGV

at_begin(function()
  labels = {}
end)

local function next_label()
  local plan, group, model, price_version = take_apart(next_argument(), '\29', 4)
  return {
    plan = plans[tonumber(plan)],
    group = group,
    model = model,
    price_version = price_version,
    record_text = table.concat({ group, model, price_version }, '\29'), -- as a check's record has them
  }
end

local function read_labels()
  for index = 1, tonumber(next_argument()) do
    labels[index] = next_label()
  end
end

-- Returns a number of tokens as a record has it.
local function tokens_text(tokens)
  return tokens > 0 and digits(tokens) or ''
end
