-- ARGV: now, tombstone_ms (on top of the record's own); then for each task: state, outcome, attempt, instance, and the
-- first six of `create`, which describe the task for a record that has vanished; an empty model: they are not known.
-- Answers 1 for an outcome that counts, 0 for one that came too late.
local now, tombstone_ms = ARGV[1], tonumber(ARGV[2])
local answers = {}
for i = 1, #KEYS, 2 do
  local record, tombstone, n = KEYS[i], KEYS[i + 1], (i + 1) / 2
  local first = 10 * n - 7
  local fields, wrong = read(record, 'ttl', 'channels')
  local before = not wrong and fields[1]
  local word = not wrong and not before and epitaph(tombstone)
  if wrong then
    answers[n] = wrong
  elseif before and terminal(before) then
    answers[n] = redis.call('HGET', record, 'outcome') == ARGV[first + 1] and 1 or 0
  elseif not before and (ARGV[first + 4] == '' or (word and terminal(word))) then
    answers[n] = 0
  else
    local revision, ttl, channels = (fields[2] or 2) + 1, fields[3], fields[4]
    if not before then
      local attempt, instance, model, fingerprint, created_at, deadline, its_ttl, channel =
        unpack(ARGV, first + 2, first + 9)
      redis.call('HSET', record, 'model', model, 'fingerprint', fingerprint, 'created_at', created_at,
        'deadline', deadline, 'ttl', its_ttl, 'attempt', attempt, 'instance', instance)
      ttl, channels = its_ttl, channel
    end
    local state, record_ms = ARGV[first], math.max(1, math.floor((tonumber(ttl) or 0) * 1000))
    redis.call('HSET', record, 'state', state, 'revision', revision, 'outcome', ARGV[first + 1], 'updated_at', now,
      'channels', '')
    redis.call('PEXPIRE', record, record_ms)
    redis.call('SET', tombstone, state, 'PX', record_ms + tombstone_ms)
    announce(record, channels, revision, state)
    answers[n] = 1
  end
end
return answers
