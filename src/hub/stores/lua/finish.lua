-- ARGV: now, tombstone_ttl; then for each task: state, outcome, attempt, instance, and the same six as `create`.
-- The six describe the task for a record that has vanished; an empty model means that they are not known.
-- Answers 1 for an outcome that counts, 0 for one that came too late.
local now, tombstone_ttl = ARGV[1], tonumber(ARGV[2])
local answers = {}
for i = 1, #KEYS, 2 do
  local record, tombstone, n = KEYS[i], KEYS[i + 1], (i + 1) / 2
  local state, outcome, attempt, instance, model, fingerprint, created_at, deadline, ttl, channel =
    unpack(ARGV, 10 * n - 7, 10 * n + 2)
  local fields, wrong = read(record, 'state', 'revision', 'ttl', 'channels')
  local word = not wrong and not fields.state and epitaph(tombstone)
  if wrong then
    answers[n] = wrong
  elseif fields.state and terminal(fields.state) then
    answers[n] = redis.call('HGET', record, 'outcome') == outcome and 1 or 0
  elseif not fields.state and (model == '' or (word and terminal(word))) then
    answers[n] = 0
  else
    local revision = (fields.revision or 2) + 1
    if not fields.state then
      redis.call('HSET', record, 'id', id(record), 'model', model, 'fingerprint', fingerprint, 'created_at', created_at,
        'deadline', deadline, 'ttl', ttl, 'attempt', attempt, 'instance', instance)
      fields.channels = channel
    end
    ttl = tonumber(fields.ttl or ttl)
    redis.call('HSET', record, 'state', state, 'revision', revision, 'outcome', outcome, 'updated_at', now,
      'expires_at', sum(now, ttl))
    redis.call('HDEL', record, 'channels')
    keep(record, tombstone, state, ttl, tombstone_ttl)
    announce(record, fields.channels, revision, state)
    answers[n] = 1
  end
end
return answers
