-- ARGV: now, tombstone_ms (on top of the record's own), the channel of the caller; then for each task: state,
-- outcome, '1' if the run that made it is the only one there, so that this channel need not be notified, and
-- '<attempt>-<chunks>' of a streaming run, else ''.
-- Answers the revision for an outcome that counts (for any but a success: {revision, model, milliseconds that the record
-- lives}; with the children of the task as a fourth element if it has any), 0 for one that came too late, -1 when nothing is
-- known of the task.
local now, tombstone_ms, own = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local LARGEST_PUBLISHED = 4096 -- bytes of an outcome that is published with its record, so that no waiter has to fetch it
local answers = {}

local function counts(record, state, revision, record_ms, children)
  if children then
    local key = children_key(record)
    redis.call('PEXPIRE', key, record_ms)
    return {revision, redis.call('HGET', record, 'model'), record_ms, redis.call('SMEMBERS', key)}
  end
  if state == 'succeeded' then
    return revision
  end
  return {revision, redis.call('HGET', record, 'model'), record_ms}
end

-- What follows an ending on lines of their own: when the task was created, what has changed in its record since, and the
-- outcome. Nothing if the outcome is too long, or if more has changed than in most tasks.
local function ending(fields, outcome)
  local attempt, created_at, instance, started_at = fields[9], fields[10], fields[11] or '', fields[12] or ''
  if #outcome > LARGEST_PUBLISHED or fields[8] or fields[13] or not (attempt and created_at and fields[3])
    or string.find(instance, '\n', 1, true) then
    return nil
  end
  return '\n' .. created_at .. '\n' .. now .. '\n' .. fields[3] .. '\n' .. attempt .. '\n' .. instance .. '\n' .. started_at
    .. '\n' .. (fields[14] or '0') .. '\n' .. (fields[15] or '') .. '\n' .. outcome
end

-- Whether a streaming run is the newest one, and all chunks of a success are stored.
local function streamed(record, state, made, chunks)
  local attempt, number = string.match(made, '^(%d+)-(%d+)$')
  if redis.call('HGET', record, 'attempt') ~= attempt then
    return false
  end
  local stored = stored_chunks(chunks, attempt)
  return state ~= 'succeeded'
    or (stored == tonumber(number) and (stored == 0 or redis.pcall('XLEN', stream_of(record)) == stored))
end

for i = 1, #KEYS, 2 do
  local record, tombstone, n = KEYS[i], KEYS[i + 1], (i + 1) / 2
  local state, outcome, alone, made = unpack(ARGV, 4 * n, 4 * n + 3)
  local fields, wrong = read(record, 'ttl', 'channels', 'callers', 'runners', 'children', 'chunks',
    'attempt', 'created_at', 'instance', 'started_at', 'progress', 'retries', 'parent')
  local before = not wrong and fields[1]
  if wrong then
    answers[n] = wrong
  elseif not before then
    local last = tombstone_state(tombstone)
    answers[n] = last and terminal(last) and 0 or -1
  elseif terminal(before) then
    local same = outcome_of(record) == outcome
    answers[n] = same and counts(record, state, tonumber(fields[2]), redis.call('PTTL', record), fields[7]) or 0
  elseif made ~= '' and not streamed(record, state, made, fields[8]) then
    answers[n] = 0
  else
    local revision, runners = fields[2] + 1, fields[6]
    local waiters = both(fields[4], fields[5])
    local record_ms = math.max(1, math.floor((tonumber(fields[3]) or 0) * 1000))
    local change = {'state', state, 'revision', revision, 'updated_at', now}
    add_outcome(change, outcome)
    redis.call('HDEL', record, 'channels', 'callers', 'runners')
    redis.call('HSET', record, unpack(change))
    redis.call('PEXPIRE', record, record_ms)
    if fields[8] then
      redis.call('PEXPIRE', stream_of(record), record_ms)
    end
    redis.call('SET', tombstone, state, 'PX', record_ms + tombstone_ms)
    if runners and not (alone == '1' and runners == own) then
      local others = ''
      for runner in string.gmatch(runners, '%S+') do
        if (alone ~= '1' or runner ~= own) and with_channel(waiters, runner) ~= waiters then
          others = with_channel(others, runner)
        end
      end
      announce(record, others, revision, state)
    end
    if waiters and waiters ~= '' then
      announce(record, waiters, revision, state, ending(fields, outcome))
    end
    answers[n] = counts(record, state, revision, record_ms, fields[7])
  end
end
return answers
