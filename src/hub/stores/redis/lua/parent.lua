-- ARGV: for each task its parent. Answers 1, or 0 when there is no record.
local answers = {}
for i = 1, #KEYS, 2 do
  local record, n = KEYS[i], (i + 1) / 2
  local fields, wrong = read(record)
  if wrong then
    answers[n] = wrong
  elseif fields[1] then
    redis.call('HSET', record, 'parent', ARGV[n])
    answers[n] = 1
  else
    answers[n] = 0
  end
end
return answers
