-- ARGV: now, unfinished_ms, tombstone_ms, pending_ms, bytes of the largest outcome that is answered; then for each task
-- the seven values that describe it.
-- Answers false for a task whose record was written, or the record that is there, as HGETALL gives it; of a record with a
-- larger outcome the bytes of that.
local now, unfinished_ms, tombstone_ms = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local answers = {}

local function milliseconds()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- The revision, the channels and the callers of a record whose submit was left behind, or nil.
local function left_behind(record)
  local state, revision, pending, channels, callers =
    unpack(redis.call('HMGET', record, 'state', 'revision', 'pending', 'channels', 'callers'))
  if state == 'queued' and tonumber(pending or '') and milliseconds() - pending >= tonumber(ARGV[4]) then
    return tonumber(revision), channels, callers
  end
  return nil
end

-- What is under the key of a record: a table that is empty if nothing is; the bytes of an outcome that is too large.
local function present(record)
  if redis.call('EXISTS', record) == 0 then
    return {}
  end
  local size = redis.pcall('HSTRLEN', record, 'outcome')
  local large = type(size) == 'number' and size > tonumber(ARGV[5])
  return large and size or redis.pcall('HGETALL', record)
end

for i = 1, #KEYS, 2 do
  local record, n = KEYS[i], (i + 1) / 2
  local there = present(record)
  local large = type(there) == 'number'
  local model, fingerprint, created_at, deadline, ttl, channel, digest = unpack(ARGV, 7 * n - 1, 7 * n + 5)
  local revision, channels, callers
  if digest ~= '' and not large and not there.err and #there > 0 then
    revision, channels, callers = left_behind(record)
  end
  if large then
    answers[n] = there
  elseif there.err then
    answers[n] = there.err
  elseif #there > 0 and not revision then
    answers[n] = there
  else
    redis.call('HSET', record, 'model', model, 'state', 'queued', 'revision', revision and revision + 1 or '1',
      'attempt', '0', 'fingerprint', fingerprint, 'created_at', created_at, 'updated_at', now, 'deadline', deadline,
      'ttl', ttl, 'callers', callers and with_channel(callers, channel) or channel)
    if digest ~= '' then
      redis.call('HSET', record, 'digest', digest, 'pending', milliseconds())
      announce(record, channels, (revision or 0) + 1, 'queued')
    end
    keep(record, KEYS[i + 1], ttl, unfinished_ms, tombstone_ms)
    answers[n] = false
  end
end
return answers
