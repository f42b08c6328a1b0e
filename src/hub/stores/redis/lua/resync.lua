-- Makes good what the server has forgotten of runs that are under way: that they were started, that their tasks exist,
-- or which channels are notified when they end.
-- ARGV: now, unfinished_ms, tombstone_ms, channel; then for each run: attempt, instance, started_at, the seven values of
-- its task.
-- Answers the state of the task, or that on its tombstone if it has ended and is forgotten, or was withdrawn.
local now, unfinished_ms, tombstone_ms, runner = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local answers = {}
for i = 1, #KEYS, 2 do
  local record, tombstone, n = KEYS[i], KEYS[i + 1], (i + 1) / 2
  local attempt, instance, started_at, model, fingerprint, created_at, deadline, ttl, channel, digest =
    unpack(ARGV, 10 * n - 5, 10 * n + 4)
  local fields, wrong = read(record, 'attempt', 'channels', 'runners')
  local state = not wrong and fields[1]
  local last = not wrong and not state and tombstone_state(tombstone)
  if wrong then
    answers[n] = wrong
  elseif (state and terminal(state)) or (last and terminal(last)) then
    answers[n] = state or last
  else
    if not state then
      describe(record, model, fingerprint, created_at, deadline, ttl, channel, digest)
    end
    local missed = tonumber(attempt) - (tonumber(fields[3]) or 0)
    if missed > 0 then
      if missed > 1 then -- how the runs in between have ended is unknown, so they do not count against the attempts
        redis.call('HINCRBY', record, 'released', missed - 1)
      end
      local revision = (fields[2] or 1) + 1
      redis.call('HSET', record, 'state', 'running', 'revision', revision, 'attempt', attempt, 'instance', instance,
        'started_at', started_at, 'updated_at', now)
      keep(record, tombstone, ttl, unfinished_ms, tombstone_ms)
      announce(record, fields[4], revision, 'running')
      state = 'running'
    end
    redis.call('HSET', record, 'runners', with_channel(fields[5], runner))
    answers[n] = state
  end
end
return answers
