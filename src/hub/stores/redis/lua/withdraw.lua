-- ARGV: tombstone_ms; then for each task: created_at.
-- Answers 1 for a task that is withdrawn now, 0 for one that is not queued any more, or was accepted for another submit.
local answers = {}
for i = 1, #KEYS, 2 do
  local record, tombstone, n = KEYS[i], KEYS[i + 1], (i + 1) / 2
  local fields, wrong = read(record, 'channels', 'created_at', 'digest', 'pending', 'callers')
  local state = not wrong and fields[1]
  local last = not wrong and not state and tombstone_state(tombstone)
  if wrong then
    answers[n] = wrong
  elseif (state == 'queued' and fields[4] == ARGV[n + 1] and (fields[6] or not fields[5]))
    or (not state and (not last or last == 'withdrawn' or not terminal(last))) then
    redis.call('DEL', record)
    redis.call('SET', tombstone, 'withdrawn', 'PX', ARGV[1])
    announce(record, both(fields[3], fields[7]), (fields[2] or 0) + 1, 'withdrawn')
    answers[n] = 1
  else
    answers[n] = 0
  end
end
return answers
