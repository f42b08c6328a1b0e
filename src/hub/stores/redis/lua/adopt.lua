-- The keys are those of a parent. ARGV: how many children it may have; then for each task its child.
-- Answers 1 for a child that is written down now or was before, 0 when the parent has ended or was withdrawn, 2 when it has
-- too many, -1 when nothing is known of the parent.
local most = tonumber(ARGV[1])
local answers = {}
for i = 1, #KEYS, 2 do
  local record, n = KEYS[i], (i + 1) / 2
  local child = ARGV[n + 1]
  local fields, wrong = read(record, 'children')
  local state = not wrong and fields[1]
  local last = not wrong and not state and tombstone_state(KEYS[i + 1])
  if wrong then
    answers[n] = wrong
  elseif not state then
    answers[n] = last and last ~= 'queued' and 0 or -1
  elseif terminal(state) then
    answers[n] = 0
  else
    local children = children_key(record)
    if redis.call('SISMEMBER', children, child) == 1 then
      answers[n] = 1
    elseif (tonumber(fields[3]) or 0) >= most then
      answers[n] = 2
    else
      redis.call('SADD', children, child)
      redis.call('PEXPIRE', children, 2 * redis.call('PTTL', record)) -- the record lives on with each change
      redis.call('HINCRBY', record, 'children', 1)
      answers[n] = 1
    end
  end
end
return answers
