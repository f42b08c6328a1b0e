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

-- What follows a change when the record is published with it: on a line of their own the lengths of the texts that HGETALL
-- answers, then the texts.
local function whole(record)
  local texts, lengths = redis.call('HGETALL', record), {}
  for k = 1, #texts do
    lengths[k] = #texts[k]
  end
  return '\n' .. table.concat(lengths, ' ') .. '\n' .. table.concat(texts)
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
  local fields, wrong = read(record, 'ttl', 'channels', 'runners', 'children', 'chunks')
  local before = not wrong and fields[1]
  if wrong then
    answers[n] = wrong
  elseif not before then
    local last = tombstone_state(tombstone)
    answers[n] = last and terminal(last) and 0 or -1
  elseif terminal(before) then
    local same = redis.call('HGET', record, 'outcome') == outcome
    answers[n] = same and counts(record, state, tonumber(fields[2]), redis.call('PTTL', record), fields[6]) or 0
  elseif made ~= '' and not streamed(record, state, made, fields[7]) then
    answers[n] = 0
  else
    local revision, waiters, runners = fields[2] + 1, fields[4], fields[5]
    local record_ms = math.max(1, math.floor((tonumber(fields[3]) or 0) * 1000))
    redis.call('HSET', record, 'state', state, 'revision', revision, 'outcome', outcome, 'updated_at', now,
      'channels', '', 'runners', '')
    redis.call('PEXPIRE', record, record_ms)
    if fields[7] then
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
      announce(record, waiters, revision, state, #outcome <= LARGEST_PUBLISHED and whole(record) or nil)
    end
    answers[n] = counts(record, state, revision, record_ms, fields[6])
  end
end
return answers
