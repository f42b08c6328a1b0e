-- ARGV: now, unfinished_ms; then for each report: attempt, progress.
-- Answers 1 for a report that is stored, 0 for one of a run that is not the present one.
local now, unfinished_ms = ARGV[1], tonumber(ARGV[2])
local answers = {}
for i = 1, #KEYS, 2 do
  local record, n = KEYS[i], (i + 1) / 2
  local attempt, progress = ARGV[2 * n + 1], ARGV[2 * n + 2]
  local fields, wrong = read(record, 'attempt', 'channels', 'ttl', 'progress')
  if wrong then
    answers[n] = wrong
  elseif fields[1] ~= 'running' or fields[3] ~= attempt then
    answers[n] = 0
  else
    if fields[6] ~= progress then
      local revision = fields[2] + 1
      redis.call('HSET', record, 'progress', progress, 'revision', revision, 'updated_at', now)
      keep(record, nil, fields[5], unfinished_ms, 0)
      announce(record, fields[4], revision, 'running')
    end
    answers[n] = 1
  end
end
return answers
