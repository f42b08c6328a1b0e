-- Two keys of one task. ARGV: attempt and number of the chunk before the first one that is wanted; chunks at most; bytes
-- at most; the channel to notify of the next changes and chunks, or ''; '' or '1', which lets a chunk with more bytes be answered too.
-- Answers {state, revision, attempt, chunks that are stored, number of the first one below, bodies}; instead of a single
-- chunk that has more bytes, its size; or 'gone' or 'unknown'.
local record = KEYS[1]
local limit, limit_bytes, channel = tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local FEWEST, MOST = 16, 256 -- entries that are read at once: the sum of their sizes is known afterwards
local fields, wrong = read(record, 'attempt', 'channels', 'chunks', 'readers')
if wrong then
  return wrong
elseif not fields[1] then
  local last = tombstone_state(KEYS[2])
  return last and last ~= 'withdrawn' and 'gone' or 'unknown'
end
local state, revision, attempt = fields[1], fields[2], fields[3]
local stream = stream_of(record)
local stored = stored_chunks(fields[5], attempt)
local after = ARGV[1] == attempt and tonumber(ARGV[2]) or 0
local bodies, size, step = {}, 0, FEWEST
while #bodies < limit and after + #bodies < stored do
  local from = attempt .. '-' .. string.format('%.0f', after + #bodies + 1)
  local entries = redis.pcall('XRANGE', stream, from, attempt .. '-' .. stored, 'COUNT', math.min(step, limit - #bodies))
  for _, entry in ipairs(entries) do
    local body = entry[2][2]
    size = size + #body
    if size > limit_bytes and ARGV[6] == '' and #bodies == 0 then
      return size
    elseif size > limit_bytes and #bodies > 0 then
      return {state, tonumber(revision), tonumber(attempt), stored, after + 1, bodies}
    end
    bodies[#bodies + 1] = body
  end
  if #entries == 0 then
    return 'chunks of the task are missing'
  end
  step = math.floor(math.max(FEWEST, math.min(MOST, (limit_bytes - size) * #bodies / math.max(1, size))))
end
if channel ~= '' and not terminal(state) then
  local channels, readers = with_channel(fields[4], channel), with_channel(fields[6], channel)
  if channels ~= fields[4] or readers ~= fields[6] then
    redis.call('HSET', record, 'channels', channels, 'readers', readers)
  end
end
return {state, tonumber(revision), tonumber(attempt), stored, after + 1, bodies}
