-- ARGV: now, instance; then for each task the same eight as `create`.
-- Answers {state, attempt}; the state `running` means that this call counted an attempt.
local now, instance = ARGV[1], ARGV[2]
local answers = {}
for i = 1, #KEYS, 2 do
  local record, tombstone, n = KEYS[i], KEYS[i + 1], (i + 1) / 2
  local fields, wrong = read(record, 'attempt', 'channels')
  local state = not wrong and fields[1]
  local word = not wrong and not state and epitaph(tombstone)
  if wrong then
    answers[n] = wrong
  elseif state and terminal(state) then
    answers[n] = {state, tonumber(fields[3]) or 0}
  elseif word and terminal(word) then
    answers[n] = {word, 0}
  else
    local attempt, revision, channels = (tonumber(fields[3]) or 0) + 1, (fields[2] or 1) + 1, fields[4]
    if not state then
      local model, fingerprint, created_at, deadline, ttl, channel = unpack(ARGV, 8 * n - 5, 8 * n)
      redis.call('HSET', record, 'model', model, 'fingerprint', fingerprint, 'created_at', created_at,
        'deadline', deadline, 'ttl', ttl, 'channels', channel)
      redis.call('SET', tombstone, 'queued', 'PX', ARGV[8 * n + 2])
      channels = channel
    end
    redis.call('HSET', record, 'state', 'running', 'revision', revision, 'attempt', attempt, 'instance', instance,
      'updated_at', now)
    redis.call('PEXPIRE', record, ARGV[8 * n + 1])
    announce(record, channels, revision, 'running')
    answers[n] = {'running', attempt}
  end
end
return answers
