-- ARGV: the channel that is to hear of the next changes, or ''.
-- Answers the record as HGETALL gives it, or 'gone' or 'unknown'.
local channel = ARGV[1]
local answers = {}
for i = 1, #KEYS, 2 do
  local record, n = KEYS[i], (i + 1) / 2
  local there = redis.pcall('HGETALL', record)
  if there.err then
    answers[n] = there.err
  elseif #there > 0 then
    answers[n] = there
    if channel ~= '' then
      local state, channels = unpack(redis.call('HMGET', record, 'state', 'channels'))
      local heard = joined(channels, channel)
      if state and heard ~= channels and (state == 'dead' or not terminal(state)) then -- the dead may be revived
        redis.call('HSET', record, 'channels', heard)
      end
    end
  else
    local word = epitaph(KEYS[i + 1])
    answers[n] = word and word ~= 'withdrawn' and 'gone' or 'unknown'
  end
end
return answers
