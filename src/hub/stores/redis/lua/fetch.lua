-- ARGV: the channel to notify of the next changes, or ''; bytes of the largest outcome that is answered, or ''.
-- Answers the record as HGETALL gives it, or 'gone' or 'unknown'; of a record with a larger outcome the bytes of that.
local channel, largest = ARGV[1], tonumber(ARGV[2])
local answers = {}
for i = 1, #KEYS, 2 do
  local record, n = KEYS[i], (i + 1) / 2
  local size = largest and redis.pcall('HSTRLEN', record, 'outcome')
  local large = type(size) == 'number' and size > largest and size
  local there = large and {} or redis.pcall('HGETALL', record)
  if large then
    answers[n] = large
  elseif there.err then
    answers[n] = there.err
  elseif #there > 0 then
    answers[n] = there
    if channel ~= '' then
      local state, channels = unpack(redis.call('HMGET', record, 'state', 'channels'))
      local more = with_channel(channels, channel)
      if state and more ~= channels and (state == 'dead' or not terminal(state)) then -- the dead may be reset
        redis.call('HSET', record, 'channels', more)
      end
    end
  else
    local last = tombstone_state(KEYS[i + 1])
    answers[n] = last and last ~= 'withdrawn' and 'gone' or 'unknown'
  end
end
return answers
