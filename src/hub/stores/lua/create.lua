-- ARGV: now, unfinished_ttl, tombstone_ttl; then for each task: model, fingerprint, created_at, deadline, ttl, channel.
-- Answers false for a task whose record was written, or the record that is there, as HGETALL gives it.
local now, unfinished_ttl, tombstone_ttl = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local answers = {}
for i = 1, #KEYS, 2 do
  local record, tombstone, n = KEYS[i], KEYS[i + 1], (i + 1) / 2
  local there = redis.pcall('HGETALL', record)
  if there.err then
    answers[n] = there.err
  elseif #there > 0 then
    answers[n] = there
  else
    local model, fingerprint, created_at, deadline, ttl, channel = unpack(ARGV, 6 * n - 2, 6 * n + 3)
    redis.call('HSET', record, 'id', id(record), 'model', model, 'state', 'queued', 'revision', '1', 'attempt', '0',
      'fingerprint', fingerprint, 'created_at', created_at, 'updated_at', now, 'deadline', deadline,
      'expires_at', sum(now, ttl), 'ttl', ttl, 'channels', channel)
    keep(record, tombstone, 'queued', math.max(ttl, unfinished_ttl), tombstone_ttl)
    answers[n] = false
  end
end
return answers
