-- Shared by all scripts: they are loaded as one text after this one.

local function terminal(state)
  return state ~= 'queued' and state ~= 'running'
end

-- The channels with one more among them.
local function with_channel(channels, channel)
  if not channels or channels == '' then
    return channel
  end
  if channel == '' or string.find(' ' .. channels .. ' ', ' ' .. channel .. ' ', 1, true) then
    return channels
  end
  return channels .. ' ' .. channel
end

-- The channels of two lists.
local function both(channels, others)
  if not others or others == '' then
    return channels
  elseif not channels or channels == '' then
    return others
  end
  for channel in string.gmatch(others, '%S+') do
    channels = with_channel(channels, channel)
  end
  return channels
end

-- Publishes a change to the channels, followed by `more` if that is given.
local function announce(record, channels, revision, state, more)
  if not channels or channels == '' then
    return
  end
  -- The key is 'hub:{' .. id .. '}:record'.
  local message = string.sub(record, 6, -9) .. ' ' .. revision .. ' ' .. state .. (more or '')
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

-- The state that the tombstone keeps, or nil.
local function tombstone_state(tombstone)
  local state = redis.pcall('GET', tombstone)
  if type(state) == 'string' then
    return state
  end
  return nil
end

-- The key of the set of a task's children, in the slot of its record: 'hub:{' .. id .. '}:children'.
local function children_key(record)
  return string.sub(record, 1, -7) .. 'children'
end

local lifetimes = {} -- computed once for each ttl; most tasks have the same

-- Lets the record of a task that has not ended live on, and its tombstone if one is given. That outlives the record even
-- if the task starts late.
local function keep(record, tombstone, ttl, unfinished_ms, tombstone_ms)
  local both = lifetimes[ttl]
  if not both then
    local record_ms = math.max(unfinished_ms, math.floor((tonumber(ttl) or 0) * 1000))
    both = {string.format('%.0f', record_ms), string.format('%.0f', 2 * record_ms + tombstone_ms)}
    lifetimes[ttl] = both
  end
  redis.call('PEXPIRE', record, both[1])
  if tombstone then
    redis.call('SET', tombstone, 'queued', 'PX', both[2])
  end
end

-- The key of the chunks of a task, in the slot of its record. It is not among the keys of the scripts, because plain tasks
-- have no chunks.
local function stream_of(record)
  return string.sub(record, 1, -7) .. 'chunks'
end

-- How many chunks of an attempt are stored; `chunks` is the field of the record.
local function stored_chunks(chunks, attempt)
  if not chunks then
    return 0
  end
  local of, number = string.match(chunks, '^(%d+)-(%d+)$')
  return of == attempt and tonumber(number) or 0
end

-- Redis keeps a hash in one piece of memory while none of its texts is longer than 64 bytes, and needs three times as much
-- otherwise. So an outcome that is not large is in the fields `outcome`, `2`, `3`, ..., with 64 bytes each.
local PIECE = 64
local MORE_PIECES = {'2', '3', '4', '5', '6', '7', '8', '9', '10', '11', '12', '13', '14', '15', '16'}

-- Appends the fields of an outcome and their values to the arguments of a command.
local function add_outcome(arguments, outcome)
  local n = #arguments
  if #outcome > PIECE * (1 + #MORE_PIECES) then
    arguments[n + 1], arguments[n + 2] = 'outcome', outcome
    return
  end
  arguments[n + 1], arguments[n + 2] = 'outcome', string.sub(outcome, 1, PIECE)
  for k = 1, math.ceil(#outcome / PIECE) - 1 do
    arguments[n + 2 * k + 1], arguments[n + 2 * k + 2] =
      MORE_PIECES[k], string.sub(outcome, PIECE * k + 1, PIECE * (k + 1))
  end
end

local function outcome_of(record)
  local pieces = redis.call('HMGET', record, 'outcome', unpack(MORE_PIECES))
  for n = 1, #pieces do
    pieces[n] = pieces[n] or ''
  end
  return table.concat(pieces)
end

-- Writes what describes a task into its record. A task with a digest has an idempotency key.
local function describe(record, model, fingerprint, created_at, deadline, ttl, channel, digest)
  redis.call('HSET', record, 'model', model, 'fingerprint', fingerprint, 'created_at', created_at,
    'deadline', deadline, 'ttl', ttl, 'callers', channel)
  if digest ~= '' then
    redis.call('HSET', record, 'digest', digest)
  end
end
