-- ARGV: now, unfinished_ms, tombstone_ms, instance, its channel, attempts; then for each task the seven values that
-- describe it, or only its digest: then nothing is written for a task without a record.
-- Answers {state, attempt, retries}; the state `running` means that this call counted an attempt, and `unknown` that the
-- seven values are needed.
local now, unfinished_ms, tombstone_ms = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local instance, runner, attempts = ARGV[4], ARGV[5], tonumber(ARGV[6])
local width = 2 * (#ARGV - 6) / #KEYS
local answers = {}
for i = 1, #KEYS, 2 do
  local record, tombstone, n = KEYS[i], KEYS[i + 1], (i + 1) / 2
  local digest = ARGV[6 + width * n]
  local fields, wrong = read(record, 'attempt', 'channels', 'ttl')
  local state = not wrong and fields[1]
  local last = not wrong and not state and tombstone_state(tombstone)
  local before = not wrong and tonumber(fields[3]) or 0
  local runners, released, retries, written_for = false, 0, 0, digest
  if state and (before > 0 or digest ~= '') then -- what most tasks do without
    local more = redis.call('HMGET', record, 'runners', 'released', 'retries', 'digest')
    runners, released, retries = more[1], tonumber(more[2]) or 0, tonumber(more[3]) or 0
    written_for = digest == '' and '' or more[4]
  end
  if wrong then
    answers[n] = wrong
  elseif last and terminal(last) then
    answers[n] = {last, 0, 0}
  elseif not state and width == 1 then
    answers[n] = {'unknown', 0, 0}
  elseif written_for ~= digest then
    answers[n] = {'withdrawn', 0, 0}
  elseif state and terminal(state) then
    answers[n] = {state, before, retries}
  elseif before - released >= attempts then
    answers[n] = {'queued', before, retries}
  else
    local attempt, revision = before + 1, (fields[2] or 1) + 1
    local ttl = fields[5]
    if not state then
      local model, fingerprint, created_at, deadline, lifetime, channel = unpack(ARGV, 7 * n, 7 * n + 5)
      ttl = lifetime
      describe(record, model, fingerprint, created_at, deadline, ttl, channel, digest)
    end
    redis.call('HSET', record, 'state', 'running', 'revision', revision, 'attempt', attempt, 'instance', instance,
      'started_at', now, 'updated_at', now, 'runners', with_channel(runners, runner))
    if before > 0 then
      redis.call('HDEL', record, 'progress')
    end
    keep(record, not state and tombstone, ttl, unfinished_ms, tombstone_ms)
    announce(record, fields[4], revision, 'running')
    answers[n] = {'running', attempt, retries}
  end
end
return answers
