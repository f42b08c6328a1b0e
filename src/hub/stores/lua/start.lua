-- ARGV: now, unfinished_ttl, tombstone_ttl, instance; then for each task the same six as `create`.
-- Answers {state, attempt}; the state `running` means that this call counted an attempt.
local now, unfinished_ttl, tombstone_ttl, instance = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local answers = {}
for i = 1, #KEYS, 2 do
  local record, tombstone, n = KEYS[i], KEYS[i + 1], (i + 1) / 2
  local fields, wrong = read(record, 'state', 'revision', 'attempt', 'ttl', 'channels')
  local word = not wrong and not fields.state and epitaph(tombstone)
  if wrong then
    answers[n] = wrong
  elseif fields.state and terminal(fields.state) then
    answers[n] = {fields.state, tonumber(fields.attempt) or 0}
  elseif word and terminal(word) then
    answers[n] = {word, 0}
  else
    local model, fingerprint, created_at, deadline, ttl, channel = unpack(ARGV, 6 * n - 1, 6 * n + 4)
    local attempt, revision = (tonumber(fields.attempt) or 0) + 1, (fields.revision or 1) + 1
    if not fields.state then
      redis.call('HSET', record, 'id', id(record), 'model', model, 'fingerprint', fingerprint, 'created_at', created_at,
        'deadline', deadline, 'ttl', ttl, 'channels', channel)
      fields.channels = channel
    end
    ttl = fields.ttl or ttl
    redis.call('HSET', record, 'state', 'running', 'revision', revision, 'attempt', attempt, 'instance', instance,
      'updated_at', now, 'expires_at', sum(now, ttl))
    keep(record, tombstone, 'running', math.max(ttl, unfinished_ttl), tombstone_ttl)
    announce(record, fields.channels, revision, 'running')
    answers[n] = {'running', attempt}
  end
end
return answers
