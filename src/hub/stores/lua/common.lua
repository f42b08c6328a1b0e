-- Shared by all scripts: they are loaded as one text after this one.

local function terminal(state)
  return state ~= 'queued' and state ~= 'running'
end

-- Tells everybody who asked to hear of the task.
local function announce(record, channels, revision, state)
  if not channels or channels == '' then
    return
  end
  -- The key is 'hub:{' .. id .. '}:record'.
  local message = string.sub(record, 6, -9) .. ' ' .. revision .. ' ' .. state
  if not string.find(channels, ' ', 1, true) then
    redis.call('PUBLISH', channels, message)
    return
  end
  for channel in string.gmatch(channels, '%S+') do
    redis.call('PUBLISH', channel, message)
  end
end

-- The given fields of the record, in order; `state` must be the first and `revision` the second.
-- Second result: what is wrong with the key, or nil.
local function read(record, ...)
  local fields = redis.pcall('HMGET', record, 'state', 'revision', ...)
  if fields.err then
    return nil, fields.err
  end
  if fields[1] and not (fields[2] and tonumber(fields[2])) then
    return nil, 'a task record without a revision'
  end
  return fields, nil
end

-- The word on the tombstone, or nil.
local function epitaph(tombstone)
  local word = redis.pcall('GET', tombstone)
  if type(word) == 'string' then
    return word
  end
  return nil
end
