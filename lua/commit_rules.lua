#!lua
-- Commits a change of a workspace's rules: compare-and-set on what the rules stand at, with its entry in the trail.
-- A large change arrives as a whole book, staged before in pages: it takes the place of the one that is there, which
-- is kept as a snapshot.
--
-- KEYS  head book changes staged snapshot, then the snapshots that are dropped
-- ARGV  expected_revision expected_tip new_epoch new_tip max_changes (about so many entries are kept)
--       settings prices (JSON; each empty: as before) staged_rules (number; empty: no staged book)
--       snapshots (revisions that have one afterwards, joined by commas) snapshot_ttl_s
--       written, then for each rule that is written its id and record; removed, then the ids of removed rules
--       fields, then the fields of the trail's entry: name and value in turn
-- Returns one of
--   { "ok", revision, epoch }        done, now or by an earlier run of the same commit
--   { "conflict", revision, tip }    the rules stand elsewhere; nothing was written
--   { "lost" }                       the staged book is not whole: it expired; nothing was written
-- Without flags the server refuses this script when `maxmemory` is reached.
-- @include arguments


local function read_commit()
  return {
    head_key = next_key(),
    book_key = next_key(),
    changes_key = next_key(),
    staged_key = next_key(),
    snapshot_key = next_key(),
    expected_revision = next_argument(),
    expected_tip = next_argument(),
    new_epoch = next_argument(),
    new_tip = next_argument(),
    max_changes = next_argument(),
    settings = next_argument(),
    prices = next_argument(),
    staged_rules = tonumber(next_argument()),
    snapshots = next_argument(),
    snapshot_ttl_s = next_argument(),
  }
end

local function read_head(commit)
  local head = redis.call('HMGET', commit.head_key, 'epoch', 'revision', 'tip', 'settings', 'prices')
  return {
    epoch = head[1] or '',
    revision = head[2] or '0',
    tip = head[3] or '',
    settings = head[4] or '',
    prices = head[5] or '',
  }
end

-- Says why the commit must not be done, or that it was done already; nil if it is to be done.
local function known_outcome(commit, head)
  if head.tip == commit.new_tip then
    return { 'ok', head.revision, head.epoch }
  end
  if head.revision ~= commit.expected_revision or head.tip ~= commit.expected_tip then
    return { 'conflict', head.revision, head.tip }
  end
  if commit.staged_rules and redis.call('HLEN', commit.staged_key) ~= commit.staged_rules then
    return { 'lost' }
  end
  return nil
end

-- What is left of a workspace whose head was lost belongs to no revision.
local function begin_epoch(commit)
  redis.call('UNLINK', commit.book_key)
  redis.call('UNLINK', commit.changes_key)
end

-- No rule's id has a colon.
local function keep_snapshot(commit, head)
  if redis.call('EXISTS', commit.book_key) == 1 then
    redis.call('RENAME', commit.book_key, commit.snapshot_key)
  end
  redis.call('HSET', commit.snapshot_key, ':settings', head.settings, ':prices', head.prices)
  redis.call('EXPIRE', commit.snapshot_key, commit.snapshot_ttl_s)
  local dropped_key = next_key()
  while dropped_key do
    redis.call('UNLINK', dropped_key)
    dropped_key = next_key()
  end
end

local function take_staged(commit)
  if commit.staged_rules > 0 then
    redis.call('RENAME', commit.staged_key, commit.book_key)
    redis.call('PERSIST', commit.book_key)
  end
end

local function change_rules(commit)
  for _ = 1, tonumber(next_argument()) do
    local id = next_argument()
    redis.call('HSET', commit.book_key, id, next_argument())
  end
  for _ = 1, tonumber(next_argument()) do
    redis.call('HDEL', commit.book_key, next_argument())
  end
end

local function change_head(commit, epoch, revision)
  local fields = { 'epoch', epoch, 'revision', revision, 'tip', commit.new_tip }
  local function put(name, value)
    if value ~= '' then
      fields[#fields + 1] = name
      fields[#fields + 1] = value
    end
  end
  put('snapshots', commit.snapshots)
  put('settings', commit.settings)
  put('prices', commit.prices)
  put('settings_revision', (commit.settings ~= '' or commit.prices ~= '') and revision or '')
  redis.call('HSET', commit.head_key, unpack(fields))
end

local function log_change(commit, epoch, revision)
  local entry = { 'epoch', epoch, 'tip', commit.new_tip, 'parent', commit.expected_tip }
  for _ = 1, 2 * tonumber(next_argument()) do
    entry[#entry + 1] = next_argument()
  end
  redis.call('XADD', commit.changes_key, 'MAXLEN', '~', commit.max_changes, revision .. '-0', unpack(entry))
end

local function run(run_keys, run_arguments)
  begin(run_keys, run_arguments)
  local commit = read_commit()
  local head = read_head(commit)
  local outcome = known_outcome(commit, head)
  if outcome then
    return outcome
  end
  local epoch = head.epoch
  if epoch == '' then
    epoch = commit.new_epoch
    begin_epoch(commit)
  end
  if commit.staged_rules then
    keep_snapshot(commit, head)
    take_staged(commit)
  end
  change_rules(commit)
  local revision = string.format('%.0f', tonumber(head.revision) + 1)
  change_head(commit, epoch, revision)
  log_change(commit, epoch, revision)
  return { 'ok', revision, epoch }
end
