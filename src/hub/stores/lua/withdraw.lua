-- ARGV: withdrawn_ttl.
-- Answers 1 for a task that is withdrawn now, 0 for one that is not queued any more.
local withdrawn_ttl = tonumber(ARGV[1])
local answers = {}
for i = 1, #KEYS, 2 do
  local record, tombstone, n = KEYS[i], KEYS[i + 1], (i + 1) / 2
  local fields, wrong = read(record, 'state', 'revision', 'channels')
  local word = epitaph(tombstone)
  if wrong then
    answers[n] = wrong
  elseif fields.state == 'queued' or (not fields.state and (not word or word == 'withdrawn' or not terminal(word))) then
    redis.call('DEL', record)
    redis.call('SET', tombstone, 'withdrawn', 'PX', milliseconds(withdrawn_ttl))
    announce(record, fields.channels, (fields.revision or 0) + 1, 'withdrawn')
    answers[n] = 1
  else
    answers[n] = 0
  end
end
return answers
