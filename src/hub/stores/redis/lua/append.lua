-- ARGV: now, unfinished_ms; then for each append: attempt, number of its first chunk, how many there are, and those chunks.
-- Answers the revision for chunks that are stored, 0 for those of a run that is not the present one or that follow chunks
-- which are missing, -1 when nothing is known of the task.
-- Channels that are named in `readers` too get the new chunks with the change, if these have few bytes: all that a call has for
-- a channel in one message. Its lines are `chunks`; then for each append, with `;` in between, the id of the task, revision,
-- attempt, number of the first chunk and the lengths of all of them; then these chunks.
local now, unfinished_ms = ARGV[1], tonumber(ARGV[2])
local LARGEST_PUBLISHED = 4096 -- bytes of one append
local answers = {}
local heads, bodies_of = {}, {} -- by channel

local function add_chunks(channel, head, from, to)
  if not heads[channel] then
    heads[channel], bodies_of[channel] = {}, {}
  end
  table.insert(heads[channel], head)
  local bodies = bodies_of[channel]
  for k = from, to do
    bodies[#bodies + 1] = ARGV[k]
  end
end

-- Publishes chunks that were stored, ARGV[from] to ARGV[to], the first of which has the number `first`.
local function announce_chunks(record, channels, readers, revision, attempt, first, from, to)
  local words, size = {string.sub(record, 6, -9), revision, attempt, string.format('%.0f', first)}, 0
  for k = from, to do
    words[#words + 1] = #ARGV[k]
    size = size + #ARGV[k]
  end
  if not readers or size > LARGEST_PUBLISHED then
    announce(record, channels, revision, 'running')
    return
  end
  local head, others = table.concat(words, ' '), ''
  for channel in string.gmatch(channels or '', '%S+') do
    if with_channel(readers, channel) == readers then
      add_chunks(channel, head, from, to)
    else
      others = with_channel(others, channel)
    end
  end
  announce(record, others, revision, 'running')
end

local at = 3
for i = 1, #KEYS, 2 do
  local record, tombstone, n = KEYS[i], KEYS[i + 1], (i + 1) / 2
  local attempt, first, count = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local bodies = at + 2 -- the chunk with the number first + k - 1 is ARGV[bodies + k]
  at = bodies + count + 1
  local fields, wrong = read(record, 'attempt', 'channels', 'ttl', 'chunks', 'readers')
  local state = not wrong and fields[1]
  if wrong then
    answers[n] = wrong
  elseif not state then
    local last = tombstone_state(tombstone)
    answers[n] = last and (terminal(last) or last == 'withdrawn') and 0 or -1
  elseif state ~= 'running' or fields[3] ~= attempt then
    answers[n] = 0
  else
    local stream = stream_of(record)
    local stored = stored_chunks(fields[6], attempt)
    if stored == 0 then -- those of an earlier attempt
      redis.call('DEL', stream)
    elseif redis.pcall('XLEN', stream) ~= stored then
      stored = -1
    end
    if stored < 0 or first > stored + 1 then
      answers[n] = 0
    elseif first + count - 1 <= stored then -- a repeated call, or one without chunks
      answers[n] = tonumber(fields[2])
    else
      for k = stored - first + 2, count do
        redis.call('XADD', stream, attempt .. '-' .. string.format('%.0f', first + k - 1), '', ARGV[bodies + k])
      end
      local revision = fields[2] + 1
      local last = string.format('%.0f', first + count - 1)
      redis.call('HSET', record, 'chunks', attempt .. '-' .. last, 'revision', revision, 'updated_at', now)
      keep(record, nil, fields[5], unfinished_ms, 0)
      redis.call('PEXPIRE', stream, redis.call('PTTL', record))
      announce_chunks(record, fields[4], fields[7], revision, attempt, stored + 1, bodies + stored - first + 2, bodies + count)
      answers[n] = revision
    end
  end
end
for channel, each in pairs(heads) do
  redis.call('PUBLISH', channel, 'chunks\n' .. table.concat(each, ';') .. '\n' .. table.concat(bodies_of[channel]))
end
return answers
