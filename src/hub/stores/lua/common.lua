-- Shared by all scripts: they are loaded as one text after this one.

local function terminal(state)
  return state ~= 'queued' and state ~= 'running'
end

local function id(record_key)
  return string.match(record_key, '{(.-)}')
end

-- Seconds as text that reads back as the same double.
local function sum(seconds, more)
  return string.format('%.17g', seconds + more)
end

local function milliseconds(seconds)
  return string.format('%.0f', math.max(1, seconds * 1000))
end

-- Tells everybody who asked to hear of the task (`channels`: names with a space between them).
local function announce(record_key, channels, revision, state)
  if channels and channels ~= '' then
    local message = id(record_key) .. ' ' .. revision .. ' ' .. state
    for channel in string.gmatch(channels, '%S+') do
      redis.call('PUBLISH', channel, message)
    end
  end
end

-- The given fields of the record by name; second result: what is wrong with the key, or nil.
local function read(record_key, ...)
  local values = redis.pcall('HMGET', record_key, ...)
  if values.err then
    return nil, values.err
  end
  local fields = {}
  for i, name in ipairs({...}) do
    fields[name] = values[i] or nil
  end
  if fields.state and not (fields.revision and tonumber(fields.revision)) then
    return nil, 'a task record without a revision'
  end
  return fields, nil
end

-- The word on the tombstone, or nil.
local function epitaph(tombstone_key)
  local word = redis.pcall('GET', tombstone_key)
  if type(word) == 'string' then
    return word
  end
  return nil
end

local function keep(record_key, tombstone_key, state, seconds, tombstone_seconds)
  redis.call('PEXPIRE', record_key, milliseconds(seconds))
  redis.call('SET', tombstone_key, state, 'PX', milliseconds(seconds + tombstone_seconds))
end
